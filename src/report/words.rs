//! What types say in English. Nothing else depends on these texts.

use crate::plan::Refusal;

/// Why a plan cannot be applied, and what would allow it.
#[must_use]
pub fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Protected { address, action } => {
            format!("{address} is protected, and this plan would {action} it")
        }
        Refusal::Unnamed { address, loss } => {
            format!("this plan would delete {address}; afterwards {loss}: allow it with --allow-delete {address}")
        }
        Refusal::State { address } => format!(
            "{address} is the bucket that holds the state: move the state elsewhere before the bucket is deleted, or keep \
             the bucket"
        ),
        Refusal::TooMany { going, managed, most } => format!(
            "the plan deletes or replaces {going} of {managed} resources, more than {most}: allow it with --allow-deletes \
             {going}"
        ),
    }
}

/// That ownership tags were found without a state, if any were.
#[must_use]
pub fn lost(project: &str, addresses: &[String]) -> Option<String> {
    let (what, carry) = match addresses {
        [] => return None,
        [one] => (one.clone(), "carries"),
        [first, rest @ ..] => (format!("{first} and {} more", rest.len()), "carry"),
    };
    Some(format!(
        "there is no state, but {what} {carry} the ownership tag of project `{project}`: the state was lost, or is stored \
         elsewhere\n  restore it, or rebuild it with `bailiwick state rebuild`; until then nothing is written"
    ))
}
