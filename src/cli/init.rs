//! `init`: a commented starter spec.

use std::io::Write as _;

use super::args::Init;
use super::ui::Ui;
use super::{Ended, Exit, Failure};
use crate::diagnostic::Severity;
use crate::spec::{SourceFile, load};

pub(super) fn run(ui: &Ui, answers: &Init) -> Ended {
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
            None => Err(Failure::new("nothing was written")),
        }
    };
    let account = ask(&answers.account, "Account of the cluster (12 digits)", "111111111111")?;
    let text = starter(&StarterValues {
        project: ask(&answers.project, "Name of the project", "model-serving")?,
        region: ask(&answers.region, "Region of the cluster", "us-west-2")?,
        cluster: ask(&answers.cluster, "Name of the EKS cluster", "prod-eks")?,
        bucket: ask(&answers.bucket, "Name of the bucket", "acme-model-weights")?,
        bucket_account: ask(&answers.bucket_account, "Account of the bucket (12 digits)", &account)?,
        prefix: ask(&answers.prefix, "Prefix to grant", "models/")?,
        namespace: ask(&answers.namespace, "Namespace of the service account", "default")?,
        service_account: ask(&answers.service_account, "Name of the service account", "model-loader")?,
        account,
    });
    let source = SourceFile { name: answers.out.display().to_string().into(), text: text.clone().into() };
    let (_, problems) = load(std::slice::from_ref(&source));
    if problems.iter().any(|p| p.severity == Severity::Error) {
        ui.problems(&problems, &[source]);
        return Err(Failure::new("these answers do not make a sound spec: nothing was written"));
    }
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(format!(
            "`{}` exists: nothing was written; say --force to overwrite it",
            answers.out.display()
        )),
        _ => Failure::new(format!("cannot write `{}`: {e}", answers.out.display())),
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if !answers.force {
        options.create_new(true);
    }
    options.open(&answers.out).and_then(|mut f| f.write_all(text.as_bytes())).map_err(failed)?;
    ui.tell(&format!("wrote {}; next: bailiwick validate, then bailiwick plan", answers.out.display()));
    Ok(Exit::Ok)
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

/// Text as a YAML scalar in double quotes.
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
        include_str!("starter.yaml"),
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
