//! kubectl's JSONPath templates: text, `{.a.b[*].c}`, `{range .items[*]}…{end}`, `{"\n"}`.
//!
//! The paths are RFC 9535's but for what kubectl adds: the leading `$` or `@` may be
//! left out, and a dot in a key is written `\.`.
use jsonpath_rust::JsonPath as _;
use serde_json::Value;

/// How deep ranges may be nested: each level is a stack frame.
const MAX_DEPTH: usize = 8;

/// A template that does not parse, or a path that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("jsonpath: {0}")]
pub(in crate::cli) struct TemplateError(String);

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A path in RFC 9535's words.
    Path(String),
    Range(String, Vec<Part>),
}

impl Template {
    /// Parses a template; one without braces is a single path.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, TemplateError> {
        let whole = if text.contains('{') { text.to_owned() } else { format!("{{{text}}}") };
        let mut rest = whole.as_str();
        let parts = parts(&mut rest, 0)?;
        if rest.is_empty() { Ok(Self(parts)) } else { Err(error("{end} without {range}")) }
    }

    /// What it says about a value.
    pub(in crate::cli) fn render(&self, value: &Value) -> Result<String, TemplateError> {
        let mut text = String::new();
        render(&self.0, value, &mut text)?;
        Ok(text)
    }

    /// The values that its paths find.
    pub(in crate::cli) fn values(&self, value: &Value) -> Result<Vec<Value>, TemplateError> {
        let mut found = Vec::new();
        for part in &self.0 {
            if let Part::Path(path) = part {
                found.extend(query(path, value)?.into_iter().cloned());
            }
        }
        Ok(found)
    }
}

fn error(text: impl Into<String>) -> TemplateError {
    TemplateError(text.into())
}

fn parts(rest: &mut &str, depth: usize) -> Result<Vec<Part>, TemplateError> {
    if depth > MAX_DEPTH {
        return Err(error("ranges are nested too deeply"));
    }
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let Some(open) = rest.find('{') else {
            parts.push(Part::Text(std::mem::take(rest).to_owned()));
            break;
        };
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let (inside, after) = expression(&rest[open + 1..])?;
        let inside = inside.trim();
        if inside == "end" {
            if depth == 0 {
                return Err(error("{end} without {range}"));
            }
            *rest = after;
            return Ok(parts);
        }
        *rest = after;
        parts.push(match inside.strip_prefix("range ") {
            Some(path) => Part::Range(translate(path.trim())?, self::parts(rest, depth + 1)?),
            None => match quoted(inside) {
                Some(text) => Part::Text(text),
                None => Part::Path(translate(inside)?),
            },
        });
    }
    if depth > 0 {
        return Err(error("{range} without {end}"));
    }
    Ok(parts)
}

/// What stands before the closing brace, and what after it.
fn expression(text: &str) -> Result<(&str, &str), TemplateError> {
    let (mut quote, mut escaped) = (None, false);
    for (i, c) in text.char_indices() {
        match (c, quote) {
            _ if escaped => escaped = false,
            ('\\', _) => escaped = true,
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            ('}', None) => return Ok((&text[..i], &text[i + 1..])),
            _ => {}
        }
    }
    Err(error(format!("{{{text} has no closing brace")))
}

/// The text between quotes, with `\n`, `\t` and the like resolved.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    Some(out)
}

/// kubectl's path in RFC 9535's words.
fn translate(path: &str) -> Result<String, TemplateError> {
    let path = path.strip_prefix(['$', '@']).unwrap_or(path);
    let mut out = String::from("$");
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        match c {
            '.' if rest.starts_with("..") => {
                out.push_str("..");
                rest = &rest[2..];
                let (name, after) = name(rest);
                out.push_str(&if name == "*" { name } else { bracket(&name) });
                rest = after;
            }
            '.' => {
                let (name, after) = name(&rest[1..]);
                match name.as_str() {
                    // `.items[*]` and a lone `.` have no name between dot and bracket.
                    "" => {}
                    "*" => out.push_str("[*]"),
                    name => out.push_str(&bracket(name)),
                }
                rest = after;
            }
            '[' => {
                let end = closing(rest).ok_or_else(|| error(format!("{path}: [ without ]")))?;
                out.push_str(&rest[..=end]);
                rest = &rest[end + 1..];
            }
            _ if out == "$" => {
                let (name, after) = name(rest);
                out.push_str(&bracket(&name));
                rest = after;
            }
            c => return Err(error(format!("{path}: unexpected {c:?}"))),
        }
    }
    // What cannot be followed is told before anything is asked.
    query(&out, &Value::Null)?;
    Ok(out)
}

fn bracket(name: &str) -> String {
    format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A key up to the next dot or bracket, with its escapes resolved.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' => return (name, &text[i..]),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket that `text` opens with is closed.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (i, c) in text.char_indices() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(open)) if c == open => quote = None,
            ('[', None) => depth += 1,
            (']', None) => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

fn query<'v>(path: &str, value: &'v Value) -> Result<Vec<&'v Value>, TemplateError> {
    value.query(path).map_err(|e| error(format!("{path}: {e}")))
}

fn render(parts: &[Part], value: &Value, out: &mut String) -> Result<(), TemplateError> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(path) => {
                let found: Vec<String> = query(path, value)?.into_iter().map(shown).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(path, inside) => {
                for item in query(path, value)? {
                    render(inside, item, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Text as it is, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> String {
        let value = json!({"items": [
            {"metadata": {"name": "a", "annotations": {"podium.dev/x": "1"}}, "n": 1,
             "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "No"}]},
            {"metadata": {"name": "b"}, "n": 2},
        ]});
        Template::parse(template).unwrap().render(&value).unwrap()
    }

    #[test]
    fn paths_are_those_of_kubectl() {
        assert_eq!(render("{.items[*].metadata.name}"), "a b");
        assert_eq!(render("{$.items[0].n}"), "1");
        assert_eq!(render(".items[-1:].n"), "2");
        assert_eq!(render("{.items[0].metadata.annotations.podium\\.dev/x}"), "1");
        assert_eq!(render("{.items[0].conditions[?(@.type==\"Ready\")].status}"), "True");
        assert_eq!(render("{.items[*]['metadata'].name}"), "a b");
        assert_eq!(render("{..name}"), "a b");
        assert_eq!(render("{.items[0].nothing}"), "");
    }

    #[test]
    fn ranges_and_text_make_lines() {
        assert_eq!(
            render("{range .items[*]}{.metadata.name}{\"\\t\"}n={.n}{'\\n'}{end}done"),
            "a\tn=1\nb\tn=2\ndone"
        );
    }

    #[test]
    fn a_broken_template_says_where() {
        for (template, part) in [
            ("{.a", "no closing brace"),
            ("{range .a}x", "without {end}"),
            ("{end}", "without {range}"),
            ("{.a[0}", "without ]"),
            ("{.a[}", "["),
        ] {
            let error = Template::parse(template).unwrap_err().to_string();
            assert!(error.contains(part), "{template}: {error}");
        }
    }
}
