//! Options that several commands share.

use clap::ValueEnum;

use super::ui::Ui;
use crate::diagnostic::{Code, NamedCode};

/// How to print a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
    /// For a pull request.
    Markdown,
}

/// How to print what was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TextOrJson {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
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

impl From<ReportFormat> for ProblemFormat {
    fn from(format: ReportFormat) -> Self {
        match format {
            ReportFormat::Json => Self::Json,
            ReportFormat::Text | ReportFormat::Markdown => Self::Text,
        }
    }
}

impl From<TextOrJson> for ProblemFormat {
    fn from(format: TextOrJson) -> Self {
        match format {
            TextOrJson::Text => Self::Text,
            TextOrJson::Json => Self::Json,
        }
    }
}

/// What the command line allows.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Allow {
    /// Allow up to N deletions and replacements.
    #[arg(long, value_name = "N")]
    pub allow_deletes: Option<usize>,
    /// Allow the deletion of this KMS key; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub allow_delete: Vec<String>,
    /// Continue despite errors with this code, such as `trust-oidc-no-sub`; may be repeated.
    #[arg(long = "allow", value_name = "CODE", value_parser = allowed_code)]
    pub codes: Vec<AllowedCode>,
    /// Leave out resources in clusters that do not respond, and everything that depends on them.
    #[arg(long)]
    pub partial: bool,
}

impl Allow {
    /// Returns the codes of findings that the command line allows. Warns about retired ones.
    #[must_use]
    pub fn findings(&self, ui: &Ui) -> Vec<Code> {
        for AllowedCode { code, written } in self.codes.iter().filter(|a| a.written != a.code.as_str()) {
            ui.tell(&format!("warning: `--allow {written}` is a retired code: write `{code}`"));
        }
        self.codes.iter().map(|a| a.code).collect()
    }
}

/// A code that `--allow` names.
#[derive(Clone, Debug)]
pub struct AllowedCode {
    /// The code.
    pub code: Code,
    /// The code as typed, which differs if it is a retired one.
    pub written: String,
}

fn allowed_code(text: &str) -> Result<AllowedCode, String> {
    match Code::named(text) {
        NamedCode::Finding(code) | NamedCode::Retired(code) => Ok(AllowedCode { code, written: text.to_owned() }),
        NamedCode::Problem(_) => Err("an error of the spec cannot be allowed: fix it".to_owned()),
        NamedCode::Refusal(code) => Err(format!("a refusal cannot be allowed by its code. {}", code.fix())),
        NamedCode::Unknown(Some(near)) => Err(format!("no finding has this code; did you mean `{near}`?")),
        NamedCode::Unknown(None) => Err("no finding has this code".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        allow: Allow,
    }

    /// Parses `--allow CODE`. Returns the code, or the error message.
    fn allowing(code: &str) -> String {
        match <Line as clap::Parser>::try_parse_from(["bailiwick", "--allow", code]) {
            Ok(line) => line.allow.codes.iter().map(|a| a.code.to_string()).collect(),
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
            allowing("too-many-deletes"),
            "error: invalid value 'too-many-deletes' for '--allow <CODE>': a refusal cannot be allowed by its code. Pass \
             `--allow-deletes N` if the deletions are intended."
        );
        assert_eq!(
            allowing("yaml-syntax"),
            "error: invalid value 'yaml-syntax' for '--allow <CODE>': an error of the spec cannot be allowed: fix it"
        );
    }
}
