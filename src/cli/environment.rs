//! The environment variables that the program reads.

/// The environment variables that the program reads.
#[derive(Clone, Debug, Default)]
pub struct ProcessEnvironment {
    /// Runs in CI: no prompts, plain progress.
    pub ci: bool,
    /// No colors, unless the command line asks for them.
    pub no_color: bool,
    /// An S3 endpoint is set.
    pub s3_endpoint: bool,
    /// The filter for logs.
    pub log: Option<String>,
    /// The user, shown to others while the state is locked.
    pub user: Option<String>,
    /// The URL of the CI run, shown to others while the state is locked.
    pub run: Option<String>,
}

impl ProcessEnvironment {
    /// Reads the variables of the process.
    #[must_use]
    pub fn read() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let value = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self {
            ci: set("CI"),
            no_color: set("NO_COLOR"),
            s3_endpoint: set("AWS_ENDPOINT_URL") || set("AWS_ENDPOINT_URL_S3"),
            log: std::env::var("BAILIWICK_LOG").ok(),
            user: value("USER"),
            run: run_page(value),
        }
    }
}

/// Returns the URL of the CI run in GitHub, GitLab or Jenkins.
fn run_page(value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let github = || {
        let [server, repository, id] = ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"].map(&value);
        Some(format!("{}/{}/actions/runs/{}", server?, repository?, id?))
    };
    github().or_else(|| value("CI_JOB_URL")).or_else(|| value("BUILD_URL"))
}

#[cfg(test)]
mod tests {
    use super::run_page;

    #[test]
    fn page_of_a_ci_run_is_found_on_three_systems() {
        let page = |set: &[(&str, &str)]| {
            run_page(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        let github = [
            ("GITHUB_SERVER_URL", "https://github.example"),
            ("GITHUB_REPOSITORY", "acme/access"),
            ("GITHUB_RUN_ID", "7"),
        ];
        assert_eq!(page(&github).as_deref(), Some("https://github.example/acme/access/actions/runs/7"));
        assert_eq!(page(&github[..2]), None);
        assert_eq!(
            page(&[("CI_JOB_URL", "https://gitlab.example/j/1")]).as_deref(),
            Some("https://gitlab.example/j/1")
        );
        assert_eq!(page(&[("BUILD_URL", "https://jenkins.example/1")]).as_deref(), Some("https://jenkins.example/1"));
        assert_eq!(page(&[]), None);
    }
}
