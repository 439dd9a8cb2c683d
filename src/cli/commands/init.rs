//! `init`: a commented starter spec.

use std::io::Write as _;
use std::path::PathBuf;

use crate::cli::failure::{Ended, ErrorKind, Exit, Failure};
use crate::cli::run::Invocation;
use crate::diagnostic::Severity;
use crate::spec::{SourceFile, load};

/// Write a commented starter spec.
///
/// At a terminal, Bailiwick prompts for values that no option sets.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bailiwick init
  bailiwick init --project chat --bucket acme-model-weights --out chat.yaml")]
pub struct InitArgs {
    /// The name of the project.
    #[arg(long)]
    project: Option<String>,
    /// The account of the cluster, 12 digits.
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The region of the cluster.
    #[arg(long)]
    region: Option<String>,
    /// The cluster's name in EKS.
    #[arg(long)]
    cluster: Option<String>,
    /// The name of the bucket.
    #[arg(long)]
    bucket: Option<String>,
    /// The account of the bucket, if it differs from the cluster's.
    #[arg(long, value_name = "ID")]
    bucket_account: Option<String>,
    /// The prefix to grant.
    #[arg(long)]
    prefix: Option<String>,
    /// The namespace of the service account.
    #[arg(long)]
    namespace: Option<String>,
    /// The name of the service account.
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = "bailiwick.yaml")]
    out: PathBuf,
    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
}

impl InitArgs {
    /// Writes the spec.
    pub fn run(&self, invocation: &Invocation<'_>) -> Ended {
        let ui = invocation.ui;
        let ask = |given: &Option<String>, question: &str, default: &str| -> Result<String, Failure> {
            if let Some(given) = given {
                return Ok(given.clone());
            }
            if !ui.can_ask() {
                return Ok(default.to_owned());
            }
            match ui.ask(&format!("{question} [{default}]:")) {
                Some(answer) if !answer.is_empty() => Ok(answer),
                Some(_) => Ok(default.to_owned()),
                None => Err(Failure::of(ErrorKind::Unconfirmed, "nothing was written")),
            }
        };
        let account = ask(&self.account, "Account of the cluster (12 digits)", "111111111111")?;
        let text = starter(&StarterValues {
            project: ask(&self.project, "Name of the project", "model-serving")?,
            region: ask(&self.region, "Region of the cluster", "us-west-2")?,
            cluster: ask(&self.cluster, "Name of the EKS cluster", "prod-eks")?,
            bucket: ask(&self.bucket, "Name of the bucket", "acme-model-weights")?,
            bucket_account: ask(&self.bucket_account, "Account of the bucket (12 digits)", &account)?,
            prefix: ask(&self.prefix, "Prefix to grant", "models/")?,
            namespace: ask(&self.namespace, "Namespace of the service account", "default")?,
            service_account: ask(&self.service_account, "Name of the service account", "model-loader")?,
            account,
        });
        let source = SourceFile { name: self.out.display().to_string().into(), text: text.clone().into() };
        let (_, problems) = load(std::slice::from_ref(&source));
        if problems.iter().any(|p| p.severity == Severity::Error) {
            ui.problems(&problems, &[source]);
            return Err(Failure::of(ErrorKind::Input, "these answers do not make a valid spec: nothing was written"));
        }
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                let message = format!("`{}` already exists; nothing was written", self.out.display());
                Failure::of(ErrorKind::Refused, message).hint("pass --force to overwrite it")
            }
            _ => Failure::new(format!("cannot write `{}`: {e}", self.out.display())),
        };
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        if !self.force {
            options.create_new(true);
        }
        options.open(ui.host().at(&self.out)).and_then(|mut f| f.write_all(text.as_bytes())).map_err(failed)?;
        ui.tell(&format!("wrote {}; next, run `bailiwick validate` and `bailiwick plan`", self.out.display()));
        Ok(Exit::Ok)
    }
}

struct StarterValues {
    project: String,
    account: String,
    region: String,
    cluster: String,
    bucket: String,
    bucket_account: String,
    prefix: String,
    namespace: String,
    service_account: String,
}

/// Formats text as a YAML scalar in double quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

fn starter(a: &StarterValues) -> String {
    let same = a.account == a.bucket_account;
    let owner = if same { "platform" } else { "data" };
    let second = if same {
        String::new()
    } else {
        format!(
            "  data:\n    id: {}\n    region: {}\n    assume_role: bailiwick\n",
            quoted(&a.bucket_account),
            quoted(&a.region)
        )
    };
    format!(
        include_str!("../starter.yaml"),
        project = quoted(&a.project),
        account = quoted(&a.account),
        region = quoted(&a.region),
        cluster = quoted(&a.cluster),
        owner = owner,
        second = second,
        bucket = quoted(&a.bucket),
        namespace = quoted(&a.namespace),
        service_account = quoted(&a.service_account),
        prefix = quoted(&a.prefix),
    )
}
