//! Observes many targets of one kind concurrently.

use std::future::Future;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::live::{Answers, Observed, ReadError, Target};
use crate::session::CONCURRENCY;

/// Runs `ask` for every target, with as many concurrent calls as requests may be sent.
pub(super) async fn each<'a, B, F, Fut>(targets: &'a [Target], ask: F) -> Answers<B>
where
    F: Fn(&'a Target) -> Fut,
    Fut: Future<Output = Result<Observed<B>, ReadError>>,
{
    let mut asked = FuturesUnordered::new();
    let mut answers = Vec::with_capacity(targets.len());
    for (n, target) in targets.iter().enumerate() {
        if asked.len() >= CONCURRENCY {
            answers.extend(asked.next().await);
        }
        let answer = ask(target);
        asked.push(async move { (n, answer.await) });
    }
    while let Some(answer) = asked.next().await {
        answers.push(answer);
    }
    answers.sort_unstable_by_key(|(n, _)| *n);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
