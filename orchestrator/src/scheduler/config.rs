//! What can be configured.
use std::str::FromStr;

/// Which nodes are liked, by what they have left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The emptier the better: Pods have room to breathe.
    #[default]
    LeastAllocated,
    /// The fuller the better: nodes stay empty that can be given back.
    MostAllocated,
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "LeastAllocated" => Ok(Self::LeastAllocated),
            "MostAllocated" => Ok(Self::MostAllocated),
            other => {
                Err(format!("{other:?} is no strategy; there are LeastAllocated and MostAllocated"))
            }
        }
    }
}

/// The scheduler's configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Config {
    /// How nodes are compared by what they have left.
    pub strategy: Strategy,
}
