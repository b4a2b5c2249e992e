//! `-o custom-columns=NAME:PATH,…`.
use anyhow::Result;
use serde_json::Value;

use super::table::Grid;
use super::{ALL_FORMS, FormatError, Template};

/// Headings, each with the path of what stands below it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Columns {
    columns: Vec<(String, Template)>,
    plain: bool,
}

impl Columns {
    /// Parses `NAME:.metadata.name,IMAGE:.spec.containers[*].image`.
    pub(super) fn parse(list: &str) -> Result<Self, FormatError> {
        let column = |text: &str| {
            let (name, path) = text.split_once(':').ok_or(FormatError::Unknown(ALL_FORMS))?;
            let path = path.trim_start_matches('{').trim_end_matches('}');
            Ok((name.to_owned(), Template::parse(&format!("{{{path}}}"))?))
        };
        let columns = list.split(',').map(column).collect::<Result<_, FormatError>>()?;
        Ok(Self { columns, plain: false })
    }

    /// The same without headings.
    pub(super) fn without_heading(self) -> Self {
        Self { plain: true, ..self }
    }

    /// A row for the object, or for each item of a list.
    pub(super) fn render(&self, value: &Value) -> Result<String> {
        let mut grid = Grid::new(self.columns.iter().map(|(name, _)| name.clone()));
        if self.plain {
            grid = grid.without_heading();
        }
        let alone = [value.clone()];
        let items = value["items"].as_array().map_or(&alone[..], Vec::as_slice);
        for item in items {
            let cell = |(_, path): &(String, Template)| {
                let found = path.render(item)?.replace(' ', ",");
                Ok(if found.is_empty() { "<none>".to_owned() } else { found })
            };
            grid.row(self.columns.iter().map(cell).collect::<Result<Vec<_>>>()?);
        }
        Ok(grid.render(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_a_row() {
        let columns = Columns::parse("NAME:.metadata.name,IMAGES:{.images[*]}").unwrap();
        let list = serde_json::json!({"items": [
            {"metadata": {"name": "a"}, "images": ["x", "y"]}, {"metadata": {"name": "b"}}]});
        assert_eq!(columns.render(&list).unwrap(), "NAME   IMAGES\na      x,y\nb      <none>\n");
        assert_eq!(columns.without_heading().render(&list).unwrap(), "a   x,y\nb   <none>\n");
    }
}
