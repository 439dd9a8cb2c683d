//! `plan`: shows what an apply would do.

use std::path::PathBuf;

use clap::ValueEnum;

use super::drift;
use crate::cli::failure::{Ended, Exit, Failure};
use crate::cli::live::{LiveRun, Work};
use crate::cli::options::{Allow, ProblemFormat, ReportFormat};
use crate::cli::run::{Invocation, addresses};
use crate::cli::saved::{may_save, save_plan};
use crate::document::Document;
use crate::engine::{Intent, Terms};
use crate::plan::PlanFile;
use crate::render;
use crate::report;

/// Show what apply would do.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick plan
  bailiwick plan --out plan.json
  bailiwick plan --format markdown --detailed-exitcode")]
pub struct PlanArgs {
    /// Save the plan to a file, for `apply FILE`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How to print the plan.
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    format: PlanFormat,
    /// Exit with 2 if there are changes, or with --refresh-only if there is drift.
    #[arg(long)]
    detailed_exitcode: bool,
    /// Plan only this address and its dependencies; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    target: Vec<String>,
    /// Show drift only, and propose no changes.
    #[arg(long, conflicts_with_all = ["out", "target"])]
    refresh_only: bool,
    #[command(flatten)]
    allow: Allow,
}

/// How to print a new plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
    /// For a pull request.
    Markdown,
    /// The findings, for code scanning (SARIF 2.1.0).
    Sarif,
}

impl From<PlanFormat> for ProblemFormat {
    fn from(format: PlanFormat) -> Self {
        match format {
            PlanFormat::Json => Self::Json,
            PlanFormat::Sarif => Self::Sarif,
            PlanFormat::Text | PlanFormat::Markdown => Self::Text,
        }
    }
}

impl PlanArgs {
    /// Creates and shows the plan.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        let allowed = self.allow.findings(invocation.ui);
        let problems = self.format.into();
        let live = LiveRun { invocation, intent: Intent::Apply, allowed, keeps_lock: false, problems };
        live.run(async |work| {
            work.check()?;
            if let Some(path) = &self.out {
                may_save(work.ui.host(), path, &work.project.files)?;
            }
            let terms = work.terms(&self.allow, None)?;
            if self.refresh_only {
                return refresh_only(work, self).await;
            }
            plan(work, self, &terms).await
        })
    }
}

async fn plan(work: &Work<'_>, asked: &PlanArgs, terms: &Terms) -> Ended {
    let planned = work.planned(&*work.backend().await?, &addresses(&asked.target)?).await?;
    let engine = work.engine();
    let published = work.published(&planned, &engine.refusals(&planned, terms));
    let document = || Document::of(&published).map_err(|e| Failure::new(e.to_string()));
    let applicable = engine.check(&planned, terms);
    let (is_empty, findings) = (planned.plan().is_empty(), planned.findings().to_vec());
    // Saved before the report, which names the file only if that succeeded.
    let saved = match (&asked.out, &applicable) {
        (Some(path), Ok(())) => save_plan(work.ui.host(), path, &PlanFile::new(planned.into_plan(), document()?)),
        _ => Ok(()),
    };
    let report = || work.report(&published, asked.out.as_deref().filter(|_| applicable.is_ok() && saved.is_ok()));
    match asked.format {
        PlanFormat::Json => {
            // JSON has no footer, so its lines go to stderr.
            report::lost(&published).into_iter().chain(work.notes()).for_each(|line| work.ui.tell(&line));
            work.ui.result(&render::json(&document()?));
        }
        PlanFormat::Text => work.ui.result(&render::terminal(&report(), work.ui.palette())),
        PlanFormat::Markdown => work.ui.result(&render::markdown(&report())),
        PlanFormat::Sarif => work.ui.sarif(&findings, work.project.first_file()),
    }
    applicable.map_err(|stopped| match asked.format {
        PlanFormat::Text | PlanFormat::Markdown => Failure::reported(stopped),
        PlanFormat::Json | PlanFormat::Sarif => Failure::from(stopped),
    })?;
    saved?;
    Ok(if asked.detailed_exitcode && !is_empty { Exit::Differs } else { Exit::Ok })
}

/// Shows the drift, and proposes no changes.
async fn refresh_only(work: &Work<'_>, asked: &PlanArgs) -> Ended {
    let (drift, findings) = drift::read(work).await?;
    let exit = match drift.as_slice() {
        drift if drift::is_incomplete(drift) => Exit::Error,
        [] => Exit::Ok,
        _ if asked.detailed_exitcode => Exit::Differs,
        _ => Exit::Ok,
    };
    let format = match asked.format {
        PlanFormat::Text => ReportFormat::Text,
        PlanFormat::Json => ReportFormat::Json,
        PlanFormat::Markdown => ReportFormat::Markdown,
        PlanFormat::Sarif => {
            // SARIF contains findings only, so the drift goes to stderr.
            work.tell_drift(&drift, &findings);
            work.ui.sarif(&findings, work.project.first_file());
            return Ok(exit);
        }
    };
    work.show_drift(&drift, &findings, format)?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use crate::access::{self, World};
    use crate::plan::Bodies;
    use crate::render::{Palette, markdown, terminal};
    use crate::report::{Report, access_section};
    use crate::spec::{Facts, SourceFile, load};

    /// The access changes in the first plan of an example.
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
