//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::diagnostic::{Code, NamedCode};

/// Declarative plan and apply for access to data: who may read which prefix of which bucket, through which role.
#[derive(Debug, Parser)]
#[command(name = "bailiwick", version, about, propagate_version = false, max_term_width = 100)]
pub struct Args {
    /// When to colour the output.
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
    /// Tell more: requests by service, and what is waited for.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// A spec file, or a folder of *.yaml files. Later ones win; may be repeated.
    #[arg(long = "file", short, global = true, value_name = "SPEC")]
    pub file: Vec<PathBuf>,
    /// The folder of the state, unless the spec has a `backend`; `state` beside the spec if absent.
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// At a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to print a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
    /// For a pull request.
    Markdown,
}

/// How to print what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApplyFormat {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
}

/// How to print a plan that was just made.
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

/// How to print problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProblemFormat {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
    /// For code scanning (SARIF 2.1.0).
    Sarif,
}

/// How to print a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// For Graphviz.
    Dot,
    /// For markdown on forges.
    Mermaid,
    /// For programs.
    Json,
}

/// Which schema to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schema {
    /// Of specs.
    Spec,
    /// Of `plan --format json`.
    Plan,
    /// Of state files.
    State,
    /// Of `drift --format json`.
    Drift,
    /// Of `can --format json` and `who-can --format json`.
    Access,
    /// Of `validate --format json`.
    Problems,
}

/// From which class of drift on the exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Class {
    /// Who can reach what.
    Access,
    /// Settings, and access.
    Managed,
    /// Names and tags, settings, and access.
    Cosmetic,
    /// Everything, other people's parts of shared documents included.
    Foreign,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented starter spec.
    Init(Init),
    /// Check the spec without looking anywhere.
    Validate {
        /// How to print problems.
        #[arg(long, value_enum, default_value_t = ProblemFormat::Text)]
        format: ProblemFormat,
    },
    /// Show what apply would do.
    Plan {
        /// Save the plan to a file, for `apply FILE`.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
        format: PlanFormat,
        /// Exit with 2 if there is something to do.
        #[arg(long)]
        detailed_exitcode: bool,
        /// Plan only this address and what it needs; may be repeated.
        #[arg(long, value_name = "ADDRESS")]
        target: Vec<String>,
        /// Show only what moved outside, and propose nothing.
        #[arg(long)]
        refresh_only: bool,
        #[command(flatten)]
        allow: Allow,
    },
    /// Apply a saved plan, or plan, ask, and apply.
    Apply {
        /// A plan saved with `plan --out`.
        plan: Option<PathBuf>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Apply only if the plan has this digest.
        #[arg(long, value_name = "DIGEST")]
        expect_digest: Option<String>,
        /// How to print what was done.
        #[arg(long, value_enum, default_value_t = ApplyFormat::Text)]
        format: ApplyFormat,
        /// Apply only this address and what it needs; may be repeated.
        #[arg(long, value_name = "ADDRESS", conflicts_with = "plan")]
        target: Vec<String>,
        #[command(flatten)]
        allow: Allow,
    },
    /// Show what moved since the last apply.
    Drift {
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Exit with 2 only from this class on.
        #[arg(long, value_enum, value_name = "CLASS", default_value_t = Class::Cosmetic)]
        fail_on: Class,
    },
    /// Remove everything that this project made.
    Destroy {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// How to print what was done.
        #[arg(long, value_enum, default_value_t = ApplyFormat::Text)]
        format: ApplyFormat,
        #[command(flatten)]
        allow: Allow,
    },
    /// Print the dependency graph of the spec.
    Graph {
        /// In which language.
        #[arg(long, value_enum, default_value_t = GraphFormat::Dot)]
        format: GraphFormat,
    },
    /// Show a saved plan, or the state.
    Show {
        /// A plan saved with `plan --out`.
        plan: Option<PathBuf>,
        /// How to print a plan.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Look at the state, or mend it.
    State {
        #[command(subcommand)]
        command: StateCommand,
    },
    /// Say whether somebody may do something, with the chain, or where it breaks.
    ///
    /// Exits with 0 if it is allowed, 2 if it is denied or depends on conditions, 1 if it cannot be known.
    Can(super::access::Can),
    /// Say who may do something, each with the chain.
    ///
    /// Exits with 0 if somebody may, 2 if nobody.
    WhoCan(super::access::WhoCan),
    /// Check, compare, print and evaluate plain policy documents.
    Policy {
        #[command(subcommand)]
        command: super::policy::PolicyCommand,
    },
    /// Print a JSON Schema.
    Schema {
        /// Of what.
        #[arg(value_enum)]
        schema: Schema,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// What is allowed by name.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Allow {
    /// Allow so many deletions and replacements.
    #[arg(long, value_name = "N")]
    pub allow_deletes: Option<usize>,
    /// Allow this key to be scheduled for deletion; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub allow_delete: Vec<String>,
    /// Continue despite errors with this code, such as `trust-oidc-no-sub`; may be repeated.
    #[arg(long = "allow", value_name = "CODE", value_parser = allowed_code)]
    pub codes: Vec<AllowedCode>,
    /// Leave out what is in a cluster that does not answer, and what depends on it.
    #[arg(long)]
    pub partial: bool,
}

/// A code that `--allow` names.
#[derive(Clone, Debug)]
pub struct AllowedCode {
    /// The code.
    pub code: Code,
    /// The text of the command line, which differs if the code is retired.
    pub written: String,
}

fn allowed_code(text: &str) -> Result<AllowedCode, String> {
    match Code::named(text) {
        NamedCode::Finding(code) | NamedCode::Retired(code) => Ok(AllowedCode { code, written: text.to_owned() }),
        NamedCode::Problem(_) => Err("an error of the spec cannot be allowed: fix it".to_owned()),
        NamedCode::Unknown(Some(near)) => Err(format!("no finding has this code; did you mean `{near}`?")),
        NamedCode::Unknown(None) => Err("no finding has this code".to_owned()),
    }
}

/// Looking at the state, or mending it.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// List the addresses.
    List,
    /// Show one entry.
    Show {
        /// Which.
        address: String,
    },
    /// Forget one entry. The thing itself stays.
    Rm {
        /// Which.
        address: String,
    },
    /// Give an entry another address, after its key was renamed in the spec.
    Mv {
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// Break the lock of a run that is gone, and say whose it is.
    Unlock {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Make the state anew from the marks on what the spec names. Nothing but the state is written.
    Rebuild {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// This existed before the project did: it is released and not deleted later; may be repeated.
        #[arg(long, value_name = "ADDRESS")]
        adopted: Vec<String>,
        /// Take also what carries this project's mark and is not in the spec: the next plan takes it away.
        #[arg(long)]
        orphans: bool,
    },
}

/// Answers for the starter spec. What is absent is asked at a terminal.
#[derive(Clone, Debug, clap::Args)]
pub struct Init {
    /// The project.
    #[arg(long)]
    pub project: Option<String>,
    /// The account of the cluster, 12 digits.
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// The region of the cluster.
    #[arg(long)]
    pub region: Option<String>,
    /// The cluster's name in EKS.
    #[arg(long)]
    pub cluster: Option<String>,
    /// The bucket.
    #[arg(long)]
    pub bucket: Option<String>,
    /// The account of the bucket, if it is another one.
    #[arg(long, value_name = "ID")]
    pub bucket_account: Option<String>,
    /// The prefix to grant.
    #[arg(long)]
    pub prefix: Option<String>,
    /// The namespace of the service account.
    #[arg(long)]
    pub namespace: Option<String>,
    /// The name of the service account.
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// Where to write it.
    #[arg(long, value_name = "FILE", default_value = "bailiwick.yaml")]
    pub out: PathBuf,
    /// Overwrite the file if it exists.
    #[arg(long)]
    pub force: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `plan --allow CODE` is taken for: the code, or the complaint.
    fn allowing(code: &str) -> String {
        match Args::try_parse_from(["bailiwick", "plan", "--allow", code]).map(|args| args.command) {
            Ok(Command::Plan { allow, .. }) => allow.codes.iter().map(|a| a.code.to_string()).collect(),
            Ok(other) => format!("{other:?}"),
            Err(error) => {
                assert!(error.use_stderr(), "it is a usage error");
                error.to_string().lines().next().unwrap_or_default().to_owned()
            }
        }
    }

    #[test]
    fn only_codes_of_findings_can_be_allowed() {
        assert_eq!(allowing("trust-oidc-no-sub"), "trust-oidc-no-sub");
        assert_eq!(allowing("policy-too-large"), "policy-over-quota", "a retired code means the new one");
        assert_eq!(
            allowing("trust-oidc-no-sup"),
            "error: invalid value 'trust-oidc-no-sup' for '--allow <CODE>': no finding has this code; did you mean \
             `trust-oidc-no-sub`?"
        );
        assert_eq!(allowing("xyzzy"), "error: invalid value 'xyzzy' for '--allow <CODE>': no finding has this code");
        assert_eq!(
            allowing("yaml-syntax"),
            "error: invalid value 'yaml-syntax' for '--allow <CODE>': an error of the spec cannot be allowed: fix it"
        );
    }
}
