//! The text format of Prometheus, version 0.0.4.
use std::fmt::{Display, Write as _};

use super::value::Histogram;

/// Why writing cannot fail.
const GROWS: &str = "a String grows";

/// What kind of number a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It grows and shrinks.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// A page that is being written.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a family; its samples follow, and no other family of that name may.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect(GROWS);
        Family { text: &mut self.0, name }
    }

    /// The whole page.
    pub fn finish(self) -> String {
        self.0
    }
}

/// The samples of one family.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    /// One sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
        self.text.push('\n');
    }

    /// One sample that was taken at a time, in milliseconds since 1970.
    pub fn sample_at(&mut self, labels: &[(&str, &str)], value: impl Display, millis: i64) {
        self.line("", labels, None, value);
        writeln!(self.text, " {millis}").expect(GROWS);
    }

    /// The samples of a histogram; the family must be one.
    pub fn histogram<const N: usize>(&mut self, labels: &[(&str, &str)], histogram: &Histogram<N>) {
        let mut count = 0;
        for (bound, at_most) in histogram.buckets() {
            count = at_most;
            self.line("_bucket", labels, Some(&bound), at_most);
            self.text.push('\n');
        }
        // Counted here and not read again: the parts of a histogram must agree.
        count += histogram.above();
        self.line("_bucket", labels, Some(&"+Inf"), count);
        self.text.push('\n');
        self.line("_sum", labels, None, histogram.sum());
        self.text.push('\n');
        self.line("_count", labels, None, count);
        self.text.push('\n');
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&dyn Display>,
        value: impl Display,
    ) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels {
            write!(self.text, "{separator}{name}=\"").expect(GROWS);
            escape(self.text, value);
            self.text.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            write!(self.text, "{separator}le=\"{bound}\"").expect(GROWS);
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        write!(self.text, " {value}").expect(GROWS);
    }
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_has_the_form_that_prometheus_reads() {
        let mut text = Text::new();
        let mut requests = text.family("requests_total", Kind::Counter, "Requests.");
        requests.sample(&[("verb", "GET"), ("path", "a\"b\\c\nd")], 3_u64);
        text.family("free", Kind::Gauge, "Free.").sample_at(&[], 0.5, 7);

        assert_eq!(
            text.finish(),
            "# HELP requests_total Requests.\n# TYPE requests_total counter\n\
             requests_total{verb=\"GET\",path=\"a\\\"b\\\\c\\nd\"} 3\n\
             # HELP free Free.\n# TYPE free gauge\nfree 0.5 7\n"
        );
    }

    #[test]
    fn buckets_are_cumulative_and_include_their_bound() {
        let took = Histogram::new(&[0.1, 1.0]);
        for millis in [100, 101, 5_000] {
            took.observe(Duration::from_millis(millis));
        }
        let mut text = Text::new();
        text.family("took", Kind::Histogram, "Took.").histogram(&[("a", "b")], &took);

        let lines: Vec<String> = text.finish().lines().skip(2).map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "took_bucket{a=\"b\",le=\"0.1\"} 1",
                "took_bucket{a=\"b\",le=\"1\"} 2",
                "took_bucket{a=\"b\",le=\"+Inf\"} 3",
                "took_sum{a=\"b\"} 5.201",
                "took_count{a=\"b\"} 3",
            ]
        );
    }
}
