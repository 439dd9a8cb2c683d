//! `can`: shows whether a principal is allowed to do something, and through which chain.

use crate::access::{AccessTarget, Who, World};
use crate::cli::failure::{Ended, ErrorKind, Failure};
use crate::cli::options::TextOrJson;
use crate::cli::run::Invocation;
use crate::cli::world::{WorldArgs, exit};
use crate::diagnostic::did_you_mean;
use crate::render;
use crate::report;
use crate::report::wire::{ACCESS_FORMAT, WireCan};

/// Show whether a principal is allowed to do something, and the chain that allows it or where it breaks.
///
/// Exits with 0 if it is allowed, 2 if it is denied or depends on conditions, and 1 if the answer is unknown.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick can trainer s3:GetObject s3://acme-datasets/train/part-0
  bailiwick can ml/trainer-sa s3:PutObject s3://acme-models/run-1/m --live")]
pub struct CanArgs {
    /// A service account or role of the spec, `namespace/name`, or an ARN.
    who: String,
    /// The action, for example `s3:GetObject`.
    action: String,
    /// The resource: `s3://bucket/key`, or an ARN. For `s3:ListBucket`, the key is the prefix.
    #[arg(value_name = "WHERE")]
    place: String,
    #[command(flatten)]
    world: WorldArgs,
}

impl CanArgs {
    /// Answers whether it is allowed.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        let target = AccessTarget::parse(&self.place)?;
        self.world.answer(invocation, |world| {
            let who = principal(world, &self.who)?;
            let answer = world.can(&who, &self.action, &target)?;
            let verdict = answer.verdict;
            match self.world.format {
                TextOrJson::Json => {
                    invocation.ui.result(&render::json(&WireCan {
                        format_version: ACCESS_FORMAT.to_owned(),
                        action: self.action.clone(),
                        place: self.place.clone(),
                        answer,
                    }));
                }
                TextOrJson::Text => {
                    invocation.ui.result(&render::terminal(
                        &report::answer(&answer, &self.action, &self.place),
                        invocation.ui.palette(),
                    ));
                }
            }
            Ok(exit(verdict))
        })
    }
}

fn principal(world: &World, text: &str) -> Result<Who, Failure> {
    world.find(text).ok_or_else(|| {
        let near = did_you_mean(text, world.known_names()).map(|near| format!("did you mean `{near}`?"));
        let help =
            near.unwrap_or_else(|| "pass a service account or role of the spec, `namespace/name`, or an ARN".into());
        Failure::of(ErrorKind::Input, format!("unknown principal `{text}`")).hint(help)
    })
}
