//! Files of saved plans.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::host::Host;
use crate::plan::PlanFile;

/// Reads the text of a saved plan.
pub fn plan_text(host: &dyn Host, path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(host.at(path)).map_err(|e| {
        let path = path.display();
        Failure::new(format!(
            "cannot read the plan `{path}`: {e}; nothing was written\n  name a file that `bailiwick plan --out` has saved"
        ))
    })
}

/// Reads a saved plan to apply it.
pub fn plan_file(host: &dyn Host, path: &Path) -> Result<PlanFile, Failure> {
    PlanFile::parse(&plan_text(host, path)?).map_err(|e| {
        let path = path.display();
        Failure::new(format!(
            "`{path}`: {e}; nothing was written\n  create a new plan with `bailiwick plan --out {path}`"
        ))
    })
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
