//! Aligned tables, out of the server's own Table answers or of rows of text.
use serde::Deserialize;
use serde_json::Value;

use super::{Tone, paint, tone};

/// Spaces between columns, as many as kubectl leaves.
const GAP: usize = 3;

/// What makes the server answer with a Table whose rows carry their objects' metadata.
pub(in crate::cli) const ACCEPT: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// `meta.k8s.io/v1` Table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Table {
    /// That of the list.
    #[serde(default)]
    pub(in crate::cli) metadata: Value,
    /// Columns; a watch names them once.
    #[serde(default)]
    pub(in crate::cli) column_definitions: Vec<Column>,
    /// A row for each object.
    #[serde(default)]
    pub(in crate::cli) rows: Vec<Row>,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct Column {
    /// Its heading.
    pub(in crate::cli) name: String,
    /// 0 if it is always shown.
    #[serde(default)]
    pub(in crate::cli) priority: i32,
}

/// A row of a [`Table`].
#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct Row {
    /// One value for each column.
    #[serde(default)]
    pub(in crate::cli) cells: Vec<Value>,
    /// The object's metadata.
    #[serde(default)]
    pub(in crate::cli) object: Value,
}

/// Text in rows and columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Grid {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    plain: bool,
}

impl Grid {
    /// A table with these headings.
    pub(in crate::cli) fn new<S: Into<String>>(heading: impl IntoIterator<Item = S>) -> Self {
        Self { heading: heading.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The same without headings.
    #[must_use]
    pub(in crate::cli) fn without_heading(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Adds a row.
    pub(in crate::cli) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether it has no rows.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, each line indented by so many spaces.
    pub(in crate::cli) fn render(&mut self, indent: usize) -> String {
        let heading = (!self.plain).then(|| self.heading.clone());
        let rows = std::mem::take(&mut self.rows);
        for cells in heading.iter().chain(&rows) {
            self.widen(cells);
        }
        // What follows in a watch has no heading any more.
        self.plain = true;
        let mut text = String::new();
        if let Some(heading) = heading {
            text.push_str(&self.line(&heading, indent, true));
        }
        for cells in &rows {
            text.push_str(&self.line(cells, indent, false));
        }
        text
    }

    fn widen(&mut self, cells: &[String]) {
        if self.widths.len() < cells.len() {
            self.widths.resize(cells.len(), 0);
        }
        for (width, cell) in self.widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }

    fn line(&self, cells: &[String], indent: usize, heading: bool) -> String {
        let paint = paint();
        let mut line = " ".repeat(indent);
        for (i, cell) in cells.iter().enumerate() {
            let painted = match (heading, tone(cell)) {
                (true, _) => paint.text(Tone::Strong, cell),
                (false, Some(tone)) => paint.text(tone, cell),
                (false, None) => cell.clone(),
            };
            line.push_str(&painted);
            if i + 1 < cells.len() {
                let missing = self.widths[i].saturating_sub(cell.chars().count());
                line.push_str(&" ".repeat(missing + GAP));
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// What of a server's table is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cli) struct Look<'a> {
    /// Every column.
    pub(in crate::cli) wide: bool,
    /// The namespace too.
    pub(in crate::cli) namespace: bool,
    /// Labels, in a last column.
    pub(in crate::cli) labels: bool,
    /// No headings.
    pub(in crate::cli) plain: bool,
    /// Names of several kinds are told apart: what stands before the name.
    pub(in crate::cli) prefix: Option<&'a str>,
}

impl Look<'_> {
    /// An empty grid with the headings of these columns.
    pub(in crate::cli) fn grid(&self, columns: &[Column]) -> Grid {
        let shown = columns.iter().filter(|column| self.shows(column));
        let mut heading: Vec<String> = shown.map(|column| column.name.to_uppercase()).collect();
        if self.namespace {
            heading.insert(0, "NAMESPACE".into());
        }
        if self.labels {
            heading.push("LABELS".into());
        }
        let grid = Grid::new(heading);
        if self.plain { grid.without_heading() } else { grid }
    }

    /// The cells of a row that are shown.
    pub(in crate::cli) fn cells(&self, columns: &[Column], row: &Row) -> Vec<String> {
        let shown = columns.iter().zip(&row.cells).enumerate();
        let shown = shown.filter(|(_, (column, _))| self.shows(column));
        let mut cells: Vec<String> = shown
            .map(|(i, (_, cell))| match self.prefix {
                Some(prefix) if i == 0 => format!("{prefix}/{}", text(cell)),
                _ => text(cell),
            })
            .collect();
        if self.namespace {
            let namespace = row.object["metadata"]["namespace"].as_str().unwrap_or_default();
            cells.insert(0, namespace.to_owned());
        }
        if self.labels {
            cells.push(pairs(&row.object["metadata"]["labels"], ","));
        }
        cells
    }

    fn shows(&self, column: &Column) -> bool {
        self.wide || column.priority == 0
    }
}

/// A cell for people; one line only.
pub(in crate::cli) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<none>".into(),
        Value::String(text) => text.lines().next().unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}

/// `a=1,b=2`, or `<none>`.
pub(in crate::cli) fn pairs(map: &Value, separator: &str) -> String {
    let Some(map) = map.as_object().filter(|map| !map.is_empty()) else {
        return "<none>".into();
    };
    let pairs: Vec<_> = map.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
    pairs.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        serde_json::from_value(json!({
            "columnDefinitions": [{"name": "Name"}, {"name": "Ready"}, {"name": "IP", "priority": 1}],
            "rows": [
                {"cells": ["web", "1/1", "10.64.0.2"],
                 "object": {"metadata": {"namespace": "default", "labels": {"a": "b"}}}},
                {"cells": ["a-longer-name", "0/1", null], "object": {"metadata": {"namespace": "x"}}},
            ],
        }))
        .unwrap()
    }

    fn render(look: Look<'_>) -> String {
        let table = table();
        let mut grid = look.grid(&table.column_definitions);
        for row in &table.rows {
            grid.row(look.cells(&table.column_definitions, row));
        }
        grid.render(0)
    }

    #[test]
    fn columns_are_aligned_and_wide_ones_hidden() {
        assert_eq!(
            render(Look::default()),
            "NAME            READY\nweb             1/1\na-longer-name   0/1\n"
        );
    }

    #[test]
    fn namespaces_labels_and_prefixes_are_added_on_demand() {
        let look =
            Look { wide: true, namespace: true, labels: true, prefix: Some("pod"), plain: true };
        assert_eq!(
            render(look),
            "default   pod/web             1/1   10.64.0.2   a=b\n\
             x         pod/a-longer-name   0/1   <none>      <none>\n"
        );
    }
}
