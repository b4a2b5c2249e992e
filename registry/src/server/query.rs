//! Query parameters of the specification.
use super::endpoint::percent_decode;
use super::error::Error;
use crate::reference::Digest;

/// As many entries as one page holds, and as many as are sent if the client names no number.
pub(super) const MAX_PAGE: usize = 1000;

/// The parameters of a request, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Error> {
        let decode =
            |part: &str| percent_decode(&part.replace('+', " ")).ok_or(Error::Parameter("query"));
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let parsed = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A digest, if the parameter is there.
    pub(super) fn digest(&self, name: &str) -> Result<Option<Digest>, Error> {
        let parse = |text: &str| {
            text.parse().map_err(|e: crate::reference::DigestError| Error::Digest(e.to_string()))
        };
        self.get(name).map(parse).transpose()
    }

    /// `n` and `last`: how many entries, after which.
    pub(super) fn page(&self) -> Result<(usize, &str), Error> {
        let limit = match self.get("n") {
            None => MAX_PAGE,
            Some(n) => n.parse::<usize>().map_err(|_| Error::Parameter("n"))?.min(MAX_PAGE),
        };
        Ok((limit, self.get("last").unwrap_or_default()))
    }
}
