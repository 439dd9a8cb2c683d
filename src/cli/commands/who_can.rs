//! `who-can`: lists every principal that is allowed to do something, each with its chain.

use crate::access::AccessTarget;
use crate::cli::failure::Ended;
use crate::cli::options::TextOrJson;
use crate::cli::run::Invocation;
use crate::cli::world::{WorldArgs, exit};
use crate::render;
use crate::report;
use crate::report::wire::{ACCESS_FORMAT, WireWhoCan};

/// List who is allowed to do something, each with the chain that allows it.
///
/// Exits with 0 if at least one principal is allowed, 2 if none is, and 1 if that is unknown.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick who-can s3:GetObject s3://acme-datasets/train/part-0
  bailiwick who-can s3:DeleteObject s3://acme-models/ --live --format json")]
pub struct WhoCanArgs {
    /// The action, for example `s3:GetObject`.
    action: String,
    /// The resource: `s3://bucket/key`, or an ARN. For `s3:ListBucket`, the key is the prefix.
    #[arg(value_name = "WHERE")]
    place: String,
    #[command(flatten)]
    world: WorldArgs,
}

impl WhoCanArgs {
    /// Lists who is allowed.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        let target = AccessTarget::parse(&self.place)?;
        self.world.answer(invocation, |world| {
            let answers = world.who_can(&self.action, &target)?;
            let verdict = answers.verdict();
            match self.world.format {
                TextOrJson::Json => {
                    invocation.ui.result(&render::json(&WireWhoCan {
                        format_version: ACCESS_FORMAT.to_owned(),
                        action: self.action.clone(),
                        place: self.place.clone(),
                        who: answers.who,
                        others: answers.others,
                    }));
                }
                TextOrJson::Text => {
                    invocation.ui.result(&render::terminal(
                        &report::answers(&answers, &self.action, &self.place),
                        invocation.ui.palette(),
                    ));
                }
            }
            Ok(exit(verdict))
        })
    }
}
