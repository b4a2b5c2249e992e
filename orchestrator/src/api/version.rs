//! Which Kubernetes this is.

/// The version of Kubernetes whose API this is; the schema tables are made for it.
pub const KUBERNETES_VERSION: &str = "v1.36.0";

/// The parts of a version, as `/version` and the metrics show them.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// The first number.
    pub major: &'static str,
    /// The second number.
    pub minor: &'static str,
    /// The whole, with that of Podium.
    pub git: String,
}

impl Version {
    /// The version that is served.
    pub fn served() -> Self {
        let mut numbers = KUBERNETES_VERSION.trim_start_matches('v').split('.');
        let mut number = || numbers.next().expect("the version has three numbers");
        let (major, minor) = (number(), number());
        let git = format!("{KUBERNETES_VERSION}+podium.{}", env!("CARGO_PKG_VERSION"));
        Self { major, minor, git }
    }
}
