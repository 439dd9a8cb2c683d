//! `can` and `who-can`: who may do what on which data, and through which chain.

use serde_json::json;

use super::args::ApplyFormat as Format;
use super::ui::Ui;
use super::{Ended, Exit, Failure};
use crate::access::{Answer, Target, Verdict, Who, World};
use crate::diagnostic::did_you_mean;
use crate::render;
use crate::report;

/// What is asked, and how the answer is printed.
#[derive(Clone, Debug, clap::Args)]
pub struct Can {
    /// Who: a service account or role by its key in the spec, `namespace/name`, or an ARN.
    pub who: String,
    /// The action, for example `s3:GetObject`.
    pub action: String,
    /// On what: `s3://bucket/key`, or an ARN. For lists the key is the prefix.
    #[arg(value_name = "WHERE")]
    pub place: String,
    #[command(flatten)]
    pub world: WorldArgs,
}

/// What is asked, and how the answer is printed.
#[derive(Clone, Debug, clap::Args)]
pub struct WhoCan {
    /// The action, for example `s3:GetObject`.
    pub action: String,
    /// On what: `s3://bucket/key`, or an ARN. For lists the key is the prefix.
    #[arg(value_name = "WHERE")]
    pub place: String,
    #[command(flatten)]
    pub world: WorldArgs,
}

/// Which world is asked.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct WorldArgs {
    /// Ask what the spec alone would give (the default). Nothing is read remotely.
    #[arg(long, conflicts_with = "live")]
    pub spec: bool,
    /// Ask what is live, as far as it is in the spec or the state.
    #[arg(long)]
    pub live: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

pub(super) fn can(ui: &Ui, world: &World, asked: &Can) -> Ended {
    let who = somebody(world, &asked.who)?;
    let target = Target::parse(&asked.place).map_err(|e| Failure::new(e.to_string()))?;
    let answer = world.can(&who, &asked.action, &target).map_err(|e| Failure::new(e.to_string()))?;
    match asked.world.format {
        Format::Json => {
            ui.result(&format!("{:#}\n", json!({ "action": asked.action, "where": asked.place, "answer": answer })))
        }
        Format::Text => {
            ui.result(&render::terminal(&report::answer(&answer, &asked.action, &asked.place), ui.palette()))
        }
    }
    Ok(match answer.verdict {
        Verdict::Allowed => Exit::Ok,
        Verdict::Depends | Verdict::Denied => Exit::Differs,
        Verdict::Unknown => Exit::Error,
    })
}

pub(super) fn who_can(ui: &Ui, world: &World, asked: &WhoCan) -> Ended {
    let target = Target::parse(&asked.place).map_err(|e| Failure::new(e.to_string()))?;
    let answers = world.who_can(&asked.action, &target).map_err(|e| Failure::new(e.to_string()))?;
    match asked.world.format {
        Format::Json => {
            ui.result(&format!("{:#}\n", json!({ "action": asked.action, "where": asked.place, "who": answers })))
        }
        Format::Text => {
            ui.result(&render::terminal(&report::answers(&answers, &asked.action, &asked.place), ui.palette()))
        }
    }
    let somebody = |answer: &Answer| answer.verdict == Verdict::Allowed;
    Ok(if answers.iter().any(somebody) { Exit::Ok } else { Exit::Differs })
}

fn somebody(world: &World, text: &str) -> Result<Who, Failure> {
    world.find(text).ok_or_else(|| {
        let near = did_you_mean(text, world.known_names()).map(|near| format!(": did you mean `{near}`?"));
        let help =
            near.unwrap_or_else(|| ": name a service account or role of the spec, `namespace/name`, or an ARN".into());
        Failure::new(format!("there is no `{text}`{help}"))
    })
}
