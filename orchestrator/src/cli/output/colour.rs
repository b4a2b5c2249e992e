//! Colours, on a terminal that wants them only.
use std::io::IsTerminal as _;
use std::sync::LazyLock;

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Tone {
    /// As it is meant to be.
    Good,
    /// On its way, or worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// A heading.
    Strong,
    /// The n-th of several sources.
    Source(usize),
}

/// Colours that tell sources apart: cyan, green, magenta, yellow, blue and their bright ones.
const SOURCES: [&str; 10] = ["36", "32", "35", "33", "34", "96", "92", "95", "93", "94"];

/// Paints text, or leaves it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Paint {
    on: bool,
}

/// How stdout is painted.
static STDOUT: LazyLock<Paint> =
    LazyLock::new(|| Paint { on: wanted(std::io::stdout().is_terminal()) });

/// How stderr is painted.
static STDERR: LazyLock<Paint> =
    LazyLock::new(|| Paint { on: wanted(std::io::stderr().is_terminal()) });

/// How text for stdout is painted.
pub(in crate::cli) fn paint() -> Paint {
    *STDOUT
}

/// How text for stderr is painted.
pub(in crate::cli) fn paint_errors() -> Paint {
    *STDERR
}

/// `NO_COLOR` (no-color.org), `CLICOLOR_FORCE` and the terminal decide, in this order.
fn wanted(terminal: bool) -> bool {
    if anstyle_query::no_color() {
        return false;
    }
    if anstyle_query::clicolor_force() {
        return true;
    }
    terminal && anstyle_query::term_supports_ansi_color() && enable()
}

/// Old consoles of Windows have to be told; everywhere else there is nothing to do.
fn enable() -> bool {
    anstyle_query::windows::enable_ansi_colors().unwrap_or(true)
}

impl Paint {
    /// The text in the colour of its tone.
    pub(in crate::cli) fn text(self, tone: Tone, text: &str) -> String {
        if !self.on || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Source(n) => SOURCES[n % SOURCES.len()],
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// What a word of a table means, if it is one that says how something is.
pub(in crate::cli) fn tone(word: &str) -> Option<Tone> {
    // `Ready,SchedulingDisabled`, `Init:Error`, `Init:0/1`
    let first = word.split(',').next().unwrap_or(word);
    let last = first.rsplit(':').next().unwrap_or(first);
    match last {
        "Running" | "Ready" | "Completed" | "Complete" | "Succeeded" | "Active" | "Bound"
        | "True" | "Available" => Some(Tone::Good),
        "Pending" | "ContainerCreating" | "PodInitializing" | "Terminating" | "NotReady"
        | "Unknown" | "Warning" | "SchedulingGated" | "Suspended" | "Evicted" => Some(Tone::Warn),
        "Failed" | "OOMKilled" | "FuelExhausted" | "DeadlineExceeded" | "NodeLost" => {
            Some(Tone::Bad)
        }
        word if word.ends_with("Error") || word.starts_with("Err") => Some(Tone::Bad),
        word if word.ends_with("BackOff") || word.starts_with("Invalid") => Some(Tone::Bad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_by_how_things_are() {
        for (word, expected) in [
            ("Running", Some(Tone::Good)),
            ("Ready,SchedulingDisabled", Some(Tone::Good)),
            ("CrashLoopBackOff", Some(Tone::Bad)),
            ("Init:Error", Some(Tone::Bad)),
            ("ErrImagePull", Some(Tone::Bad)),
            ("Pending", Some(Tone::Warn)),
            ("web-1", None),
        ] {
            assert_eq!(tone(word), expected, "{word}");
        }
    }

    #[test]
    fn without_colour_text_stays_as_it_is() {
        assert_eq!(Paint { on: false }.text(Tone::Bad, "x"), "x");
        assert_eq!(Paint { on: true }.text(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
    }
}
