//! `can` and `who-can`: who may do what on which data, and through which chain.

use super::args::ApplyFormat as Format;
use super::ui::Ui;
use super::{Ended, Exit, Failure};
use crate::access::{Target, Verdict, Who, World};
use crate::diagnostic::did_you_mean;
use crate::render;
use crate::report;
use crate::report::wire::{ACCESS_FORMAT, WireCan, WireWhoCan};

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
    let verdict = answer.verdict;
    match asked.world.format {
        Format::Json => {
            ui.result(&render::json(&WireCan {
                format_version: ACCESS_FORMAT.to_owned(),
                action: asked.action.clone(),
                place: asked.place.clone(),
                answer,
            }));
        }
        Format::Text => {
            ui.result(&render::terminal(&report::answer(&answer, &asked.action, &asked.place), ui.palette()));
        }
    }
    Ok(exit(verdict))
}

/// "Allowed only if" counts as not allowed.
fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Allowed => Exit::Ok,
        Verdict::Depends | Verdict::Denied => Exit::Differs,
        Verdict::Unknown => Exit::Error,
    }
}

pub(super) fn who_can(ui: &Ui, world: &World, asked: &WhoCan) -> Ended {
    let target = Target::parse(&asked.place).map_err(|e| Failure::new(e.to_string()))?;
    let answers = world.who_can(&asked.action, &target).map_err(|e| Failure::new(e.to_string()))?;
    let verdict = answers.verdict();
    match asked.world.format {
        Format::Json => {
            ui.result(&render::json(&WireWhoCan {
                format_version: ACCESS_FORMAT.to_owned(),
                action: asked.action.clone(),
                place: asked.place.clone(),
                who: answers.who,
                others: answers.others,
            }));
        }
        Format::Text => {
            ui.result(&render::terminal(&report::answers(&answers, &asked.action, &asked.place), ui.palette()));
        }
    }
    Ok(exit(verdict))
}

fn somebody(world: &World, text: &str) -> Result<Who, Failure> {
    world.find(text).ok_or_else(|| {
        let near = did_you_mean(text, world.known_names()).map(|near| format!(": did you mean `{near}`?"));
        let help =
            near.unwrap_or_else(|| ": name a service account or role of the spec, `namespace/name`, or an ARN".into());
        Failure::new(format!("there is no `{text}`{help}"))
    })
}

#[cfg(test)]
mod tests {
    use crate::access::{self, World};
    use crate::plan::Bodies;
    use crate::render::{Palette, markdown, terminal};
    use crate::report::{Report, access_section};
    use crate::spec::{Facts, SourceFile, load};

    /// What the first plan of an example says about access.
    #[test]
    fn the_first_plan_of_the_kserve_example_shows_what_its_pods_gain() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kserve-cross-account");
        let file = |name: &str| SourceFile {
            name: name.into(),
            text: std::fs::read_to_string(folder.join(name)).unwrap().into(),
        };
        let (spec, problems) = load(&[file("base.yaml"), file("prod.yaml")]);
        assert_eq!(problems, []);
        let spec = spec.unwrap();
        let facts = Facts::placeholders(&spec);
        let kinds = crate::provider::kinds();
        let (desired, problems) = crate::desired::build(&spec, &facts, &access::lower(&spec), &kinds);
        assert_eq!(problems, []);
        let after = World::new(&spec, &facts, Bodies::desired(&desired).facets(&kinds));
        let changes = access::diff(&World::new(&spec, &facts, []), &after);
        let sections = access_section(&changes, true).into_iter().collect();
        let report = Report { headline: String::new(), sections, footer: Vec::new() };
        assert!(markdown(&report).contains("\n**Access**\n\n- ⚠️ service account kserve/model-loader-sa"));
        assert_eq!(
            terminal(&report, Palette::default()).trim_start(),
            "Access
  ! service account kserve/model-loader-sa in cluster serving gains [CROSSES
    ACCOUNTS]
      via service account kserve/model-loader-sa is annotated with role
      arn:aws:iam::111111111111:role/kserve-model-loader-prod, role
      kserve-model-loader-prod trusts it (statement 1 of its trust policy)
      read (s3:GetBucketLocation) on acme-model-weights-prod: statement
      `Bailiwick90fdef02Locate` of the policy of bucket acme-model-weights-prod,
      statement `Locate` of inline policy bailiwick-access
      list (s3:ListBucket) on acme-model-weights-prod (HeadBucket, and lists
      without a prefix): statement `Bailiwick90fdef02Head` of the policy of
      bucket acme-model-weights-prod, statement `Head` of inline policy
      bailiwick-access
      list (s3:ListBucket) on acme-model-weights-prod/Mistral-7B-v0.1,
      acme-model-weights-prod/Mistral-7B-v0.1/*: statement
      `Bailiwick90fdef02ListMistral7BV01433d` of the policy of bucket
      acme-model-weights-prod, statement `List` of inline policy
      bailiwick-access
      read (s3:GetObject) on acme-model-weights-prod/Mistral-7B-v0.1/*:
      statement `Bailiwick90fdef02ReadMistral7BV01433d` of the policy of bucket
      acme-model-weights-prod, statement `Read` of inline policy
      bailiwick-access
      read (kms:Decrypt) on key alias/model-weights-prod: statement
      `Bailiwick90fdef02Decrypt` of the policy of key alias/model-weights-prod,
      statement `Keys` of inline policy bailiwick-access
"
        );
    }
}
