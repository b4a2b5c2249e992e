//! Label and field selectors, as they stand in a query string.
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

/// A selector that does not parse; `Display` says what is wrong and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse requirement: {0}")]
pub struct SelectorError(pub String);

/// A parsed `labelSelector`; the empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

/// A parsed `fieldSelector`; the empty one selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

impl LabelSelector {
    /// Parses `a=b,c!=d,e in (f,g),!h,i`; the empty string selects everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (requirement, after) = requirement(rest)?;
            requirements.push(requirement);
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(more) if !more.trim().is_empty() => more.trim_start(),
                Some(_) => return Err(error(text, "found '', expected: identifier after ','")),
                None if after.is_empty() => after,
                None => return Err(error(text, "expected ',' or the end")),
            };
        }
        Ok(Self(requirements))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels that `get` looks up are selected.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = get(&requirement.key);
            let number = |v: &str| v.parse::<i64>().ok();
            match &requirement.test {
                Test::In(values) => value.is_some_and(|v| values.iter().any(|w| w == v)),
                Test::NotIn(values) => !value.is_some_and(|v| values.iter().any(|w| w == v)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::GreaterThan(n) => value.and_then(number).is_some_and(|v| v > *n),
                Test::LessThan(n) => value.and_then(number).is_some_and(|v| v < *n),
            }
        })
    }

    /// Whether an object with these labels is selected.
    pub fn matches_map(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
    }
}

impl FieldSelector {
    /// Parses `a=b,c==d,e!=f`; the empty string selects everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (path, equal, value) = if let Some((path, value)) = part.split_once("!=") {
                    (path, false, value)
                } else if let Some((path, value)) = part.split_once("==") {
                    (path, true, value)
                } else if let Some((path, value)) = part.split_once('=') {
                    (path, true, value)
                } else {
                    let why = format!("invalid selector: '{part}'; can't understand it");
                    return Err(SelectorError(why));
                };
                Ok(FieldRequirement { path: path.into(), equal, value: value.into() })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields it names.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|requirement| requirement.path.as_str())
    }

    /// The one value a field must have, if the selector names one.
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|r| r.equal && r.path == path).map(|r| r.value.as_str())
    }

    /// Whether an object whose fields `get` looks up is selected.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> &'a str) -> bool {
        self.0.iter().all(|r| (get(&r.path) == r.value) == r.equal)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    path: String,
    equal: bool,
    value: String,
}

fn requirement(text: &str) -> Result<(Requirement, &str), SelectorError> {
    if let Some(rest) = text.strip_prefix('!') {
        let (key, rest) = word(rest.trim_start());
        return Ok((Requirement { key: checked_key(key)?, test: Test::Absent }, rest));
    }
    let (key, rest) = word(text);
    let key = checked_key(key)?;
    let rest = rest.trim_start();
    let one = |rest: &'_ str| -> (String, usize) {
        let trimmed = rest.trim_start();
        let (value, _) = word(trimmed);
        (value.to_owned(), rest.len() - trimmed.len() + value.len())
    };
    let number = |value: String| {
        value
            .parse()
            .map_err(|_| error(text, "for 'Gt', 'Lt' operators, the value must be an integer"))
    };
    for (sign, negative) in [("!=", true), ("==", false), ("=", false)] {
        if let Some(rest) = rest.strip_prefix(sign) {
            let (value, used) = one(rest);
            super::names::label_value(&value).map_err(SelectorError)?;
            let test = if negative { Test::NotIn(vec![value]) } else { Test::In(vec![value]) };
            return Ok((Requirement { key, test }, &rest[used..]));
        }
    }
    if let Some(rest) = rest.strip_prefix('>') {
        let (value, used) = one(rest);
        return Ok((Requirement { key, test: Test::GreaterThan(number(value)?) }, &rest[used..]));
    }
    if let Some(rest) = rest.strip_prefix('<') {
        let (value, used) = one(rest);
        return Ok((Requirement { key, test: Test::LessThan(number(value)?) }, &rest[used..]));
    }
    let (operator, after) = word(rest);
    let negative = match operator {
        "" => return Ok((Requirement { key, test: Test::Exists }, rest)),
        "in" => false,
        "notin" => true,
        _ => return Err(error(text, "expected: in, notin, =, ==, !=, gt, lt")),
    };
    let list = after.trim_start().strip_prefix('(').ok_or_else(|| error(text, "expected '('"))?;
    let (list, rest) = list.split_once(')').ok_or_else(|| error(text, "expected ')'"))?;
    let values: Vec<String> = list.split(',').map(|v| v.trim().to_owned()).collect();
    for value in &values {
        super::names::label_value(value).map_err(SelectorError)?;
    }
    let test = if negative { Test::NotIn(values) } else { Test::In(values) };
    Ok((Requirement { key, test }, rest))
}

fn checked_key(key: &str) -> Result<String, SelectorError> {
    super::names::qualified(key).map_err(SelectorError)?;
    Ok(key.to_owned())
}

fn word(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '!' | '<' | '>' | '(' | ')'))
        .unwrap_or(text.len());
    text.split_at(end)
}

fn error(text: &str, why: &str) -> SelectorError {
    SelectorError(format!("{why} in {text:?}"))
}

/// The selector of an object as text, `a=b,c in (d,e),!f`; empty if it selects everything.
pub fn selector_text(selector: &meta::LabelSelector) -> String {
    let exact = selector.match_labels.iter().flatten();
    let mut parts: Vec<(&str, String)> =
        exact.map(|(key, value)| (key.as_str(), format!("{key}={value}"))).collect();
    for requirement in selector.match_expressions.iter().flatten() {
        let mut values = requirement.values.clone().unwrap_or_default();
        values.sort();
        let (key, values) = (requirement.key.as_str(), values.join(","));
        let text = match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key, text));
    }
    parts.sort_by_key(|(key, _)| *key);
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_select_by_every_operator() {
        let labels =
            BTreeMap::from([("app".to_owned(), "web".to_owned()), ("n".into(), "7".into())]);
        let matches = |text: &str| {
            LabelSelector::parse(text).map(|selector| selector.matches_map(Some(&labels)))
        };
        for text in [
            "",
            "app",
            "app=web",
            "app==web,n",
            "app!=db",
            "x!=y",
            "!x",
            "app in (db, web)",
            "app notin (db)",
            "n>6",
            "n<8",
            " app = web , !x ",
        ] {
            assert_eq!(matches(text), Ok(true), "{text}");
        }
        for text in [
            "x",
            "app=db",
            "app!=web",
            "!app",
            "app in (db)",
            "x in (y)",
            "app notin (web)",
            "n>7",
            "app>1",
        ] {
            assert_eq!(matches(text), Ok(false), "{text}");
        }
        for text in ["app in web", "app in (web", "app foo", ",", "app,", "a b", "n>x", "-a", "a=-"]
        {
            assert!(matches(text).is_err(), "{text}");
        }
    }

    #[test]
    fn field_selectors_compare_text() {
        let selector =
            FieldSelector::parse("spec.nodeName=a,status.phase!=Failed").expect("parses");
        let fields = |phase: &'static str| {
            move |path: &str| if path == "spec.nodeName" { "a" } else { phase }
        };
        assert!(selector.matches(fields("Running")));
        assert!(!selector.matches(fields("Failed")));
        assert_eq!(selector.exact("spec.nodeName"), Some("a"));
        assert!(FieldSelector::parse("nonsense").is_err());
    }
}
