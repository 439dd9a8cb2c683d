//! Files of saved plans.

use std::path::{Path, PathBuf};

use super::failure::{ErrorKind, Failure};
use super::host::Host;
use crate::plan::{PlanFile, PlanFileError, is_saved_plan};
use crate::spec::SourceFile;

/// Reads the text of a saved plan.
pub fn plan_text(host: &dyn Host, path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(host.at(path)).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => unusable(path, &PlanFileError::NotAPlan),
        _ => {
            Failure::new(format!("cannot read the plan `{}`: {e}", path.display())).hint(PlanFileError::NotAPlan.help())
        }
    })
}

/// Reads a saved plan to apply it.
pub fn plan_file(host: &dyn Host, path: &Path) -> Result<PlanFile, Failure> {
    PlanFile::parse(&plan_text(host, path)?).map_err(|e| unusable(path, &e))
}

/// Why a plan file can be neither shown nor applied.
pub fn unusable(path: &Path, error: &PlanFileError) -> Failure {
    let path = path.display();
    let message = match error {
        PlanFileError::NotAPlan => format!("`{path}` is not a saved plan"),
        error => format!("`{path}`: {error}"),
    };
    Failure::of(ErrorKind::Input, message).hint(error.help())
}

/// Checks that saving a plan would replace neither a file of the spec nor anything but a saved plan.
pub fn may_save(host: &dyn Host, path: &Path, spec: &[SourceFile]) -> Result<(), Failure> {
    let refused = |what: &str| {
        let message = format!("`{}` {what}; nothing was written", path.display());
        Err(Failure::of(ErrorKind::Refused, message)
            .hint("pass the name of a new file, or of one that `bailiwick plan --out` wrote"))
    };
    let at = host.at(path);
    // What does not exist is nothing to replace. Whatever else is wrong, saving reports it.
    let Ok(real) = at.canonicalize() else { return Ok(()) };
    if spec.iter().any(|file| host.at(Path::new(&*file.name)).canonicalize().is_ok_and(|file| file == real)) {
        return refused("is a file of the spec, and the plan would replace it");
    }
    if !real.is_file() {
        return refused("exists and is not a regular file");
    }
    match std::fs::read(&real) {
        Ok(bytes) if bytes.is_empty() || is_saved_plan(&String::from_utf8_lossy(&bytes)) => Ok(()),
        Ok(_) => refused("exists and is not a saved plan, and the plan would replace it"),
        Err(error) => refused(&format!("exists and cannot be read: {error}")),
    }
}

/// Saves a plan through a temporary file, so that no reader gets half a plan.
pub fn save_plan(host: &dyn Host, path: &Path, file: &PlanFile) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(format!("cannot write `{}`: {why}", path.display()));
    let path = host.at(path);
    let folder =
        path.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let mut temporary =
        std::io::BufWriter::new(tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(e.to_string()))?);
    serde_json::to_writer(&mut temporary, file).map_err(|e| failed(e.to_string()))?;
    let temporary = temporary.into_inner().map_err(|e| failed(e.to_string()))?;
    temporary.persist(path).map(|_| ()).map_err(|e| failed(e.to_string()))
}
