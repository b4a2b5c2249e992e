//! Which component of a Spin application gets a request.
//!
//! A route is a path. Its segments stand for themselves, `:name` for any one segment, and `/...`
//! (or `/*`) at its end for whatever follows, nothing included. Slashes at the end of a request's
//! path do not count. Of several routes that fit, the first segment in which they differ decides:
//! a word goes before a parameter, that before the route's end, and that before `/...`. Of two
//! that are the same text the later one counts, of two that take the same requests the earlier.
use crate::images::StoredRoute;

/// What Spin's own host answers, below any route.
const WELL_KNOWN: &str = "/.well-known/spin/";

/// Where a container's requests go.
#[derive(Debug)]
pub enum Routes {
    /// To its only component, as they are.
    Everything,
    /// To the component of the first route that fits.
    Spin(Vec<Route>),
}

/// Where one request goes.
#[derive(Debug)]
pub enum Found<'a> {
    /// To the only component, as it is.
    Everything,
    /// To this route's component.
    Route(&'a Route),
    /// To nobody: it asks whether the application is there.
    Health,
    /// To nobody.
    Nothing,
}

/// A route and its component.
#[derive(Debug)]
pub struct Route {
    /// The index of its component.
    pub component: usize,
    /// As its author wrote it.
    pub written: String,
    steps: Vec<Step>,
    /// Whether it takes whatever follows its steps.
    is_open: bool,
}

#[derive(Debug)]
enum Step {
    Word(String),
    Parameter(String),
}

/// A route that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("its route {route:?} {why}")]
pub struct RouteError {
    /// As its author wrote it.
    pub route: String,
    /// The index of its component.
    pub component: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Routes {
    /// Those of an image, in the order of its author; none if everything goes to one component.
    pub fn new(stored: &[StoredRoute]) -> Result<Self, RouteError> {
        if stored.is_empty() {
            return Ok(Self::Everything);
        }
        let mut routes: Vec<Route> = Vec::with_capacity(stored.len());
        for StoredRoute { path, component } in stored {
            match routes.iter_mut().find(|known| known.written == *path) {
                Some(known) => known.component = *component,
                None => routes.push(Route::parse(path, *component)?),
            }
        }
        routes.sort_by_cached_key(Route::rank);
        Ok(Self::Spin(routes))
    }

    /// Where a request for `path` goes.
    pub fn find(&self, path: &str) -> Found<'_> {
        let Self::Spin(routes) = self else { return Found::Everything };
        if let Some(name) = path.strip_prefix(WELL_KNOWN) {
            return if name == "health" { Found::Health } else { Found::Nothing };
        }
        routes.iter().find(|route| route.fits(path)).map_or(Found::Nothing, Found::Route)
    }
}

impl Route {
    /// Every path, for one component: how one component calls another.
    pub fn whole(component: usize) -> Self {
        Self { component, written: "/...".to_owned(), steps: Vec::new(), is_open: true }
    }

    fn parse(written: &str, component: usize) -> Result<Self, RouteError> {
        let refused = |why| RouteError { route: written.to_owned(), component, why };
        if !written.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("has characters that are in no path"));
        }
        let whole = based(written);
        let closed = whole.strip_suffix("/...").or_else(|| whole.strip_suffix("/*"));
        let segments = closed.unwrap_or(&whole).split('/').filter(|segment| !segment.is_empty());
        let steps = segments.map(|segment| Step::parse(segment).map_err(refused));
        Ok(Self {
            component,
            written: written.to_owned(),
            steps: steps.collect::<Result<_, _>>()?,
            is_open: closed.is_some(),
        })
    }

    /// Orders routes: the smaller goes first.
    fn rank(&self) -> Vec<u8> {
        let kinds = self.steps.iter().map(|step| match step {
            Step::Word(_) => 0,
            Step::Parameter(_) => 1,
        });
        kinds.chain([if self.is_open { 3 } else { 2 }]).collect()
    }

    fn fits(&self, path: &str) -> bool {
        self.walk(path, |_, _| {}).is_some()
    }

    /// What follows its steps in a path that fits; `take` gets each parameter and its segment.
    fn walk<'p>(&self, path: &'p str, mut take: impl FnMut(&str, &'p str)) -> Option<&'p str> {
        let trimmed = path.trim_matches('/');
        let mut left = (!trimmed.is_empty()).then_some(trimmed);
        for step in &self.steps {
            let rest = left?;
            let (segment, after) = match rest.split_once('/') {
                Some((segment, after)) => (segment, Some(after)),
                None => (rest, None),
            };
            match step {
                Step::Word(word) if word != segment => return None,
                Step::Word(_) => {}
                Step::Parameter(name) => take(name, segment),
            }
            left = after;
        }
        match left {
            None => Some(""),
            Some(rest) => self.is_open.then_some(rest),
        }
    }

    /// What `/...` takes of a path that fits: nothing, or something that begins with a slash.
    pub fn path_info(&self, path: &str) -> String {
        let rest = self.walk(path, |_, _| {}).unwrap_or_default();
        match (self.is_open, rest, path.ends_with('/')) {
            (false, ..) | (true, "", false) => String::new(),
            (true, "", true) => "/".to_owned(),
            (true, rest, false) => format!("/{rest}"),
            (true, rest, true) => format!("/{rest}/"),
        }
    }

    /// Its parameters and what they take of a path that fits.
    pub fn parameters<'p>(&self, path: &'p str) -> Vec<(String, &'p str)> {
        let mut taken = Vec::new();
        self.walk(path, |name, segment| taken.push((name.to_owned(), segment)));
        taken
    }

    /// As the application's base, which is `/`, and itself make it.
    pub fn based(&self) -> String {
        based(&self.written)
    }

    /// Without `/...`.
    pub fn prefix(&self) -> &str {
        self.written.strip_suffix("/...").unwrap_or(&self.written)
    }
}

impl Step {
    fn parse(segment: &str) -> Result<Self, &'static str> {
        if segment == "..." || segment.starts_with('*') {
            return Err("has a ... or * that is not all that follows its last slash");
        }
        if segment.split('.').skip(1).any(|piece| piece.starts_with([':', '*'])) {
            return Err("has a parameter that is not a whole segment");
        }
        match segment.strip_prefix(':') {
            Some("") => Err("has a parameter without a name"),
            Some(name) if name.contains('.') => Err("has a parameter that is not a whole segment"),
            Some(name) => Ok(Self::Parameter(name.to_owned())),
            None => Ok(Self::Word(segment.to_owned())),
        }
    }
}

/// A route with a slash before it, and without one at its end.
fn based(written: &str) -> String {
    let slash = if written.starts_with('/') { "" } else { "/" };
    let whole = format!("{slash}{written}");
    whole.strip_suffix('/').map(str::to_owned).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(written: &[&str]) -> Result<Routes, RouteError> {
        let stored = written.iter().enumerate();
        let stored: Vec<_> = stored
            .map(|(component, path)| StoredRoute { path: (*path).to_owned(), component })
            .collect();
        Routes::new(&stored)
    }

    /// The component that a path leads to.
    fn found(routes: &Routes, path: &str) -> Option<usize> {
        match routes.find(path) {
            Found::Route(route) => Some(route.component),
            Found::Nothing => None,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn a_route_takes_the_paths_it_describes() {
        for (route, taken, not) in [
            ("/", ["/", "", "//"].as_slice(), ["/a"].as_slice()),
            ("/foo", &["/foo", "/foo/"], &["/", "/foobar", "/foo/bar", "/bar", "/fo"]),
            ("foo", &["/foo"], &["/"]),
            ("/foo/", &["/foo", "/foo/"], &["/foo/bar"]),
            ("/a/b.c", &["/a/b.c"], &["/a/bxc", "/a//b.c"]),
            ("/...", &["/", "", "/a", "/a/b/", "*"], &[]),
            ("...", &["/", "/a"], &[]),
            ("/*", &["/", "/a/b"], &[]),
            ("/a/...", &["/a", "/a/", "/a/b", "/a/b/c", "/a//b"], &["/", "/ab", "/b/a"]),
            ("/a/.../", &["/a", "/a/b"], &["/b"]),
            ("/a/:x", &["/a/1", "/a/1/"], &["/a", "/a/", "/a/1/2"]),
            ("/a/:x/b", &["/a/1/b"], &["/a/b", "/a/1", "/a/1/b/c"]),
            ("/:x/...", &["/1", "/1/2/3"], &["/"]),
        ] {
            let one = routes(&[route]).unwrap();
            for path in taken {
                assert_eq!(found(&one, path), Some(0), "{route} {path}");
            }
            for path in not {
                assert_eq!(found(&one, path), None, "{route} {path}");
            }
        }
    }

    #[test]
    fn of_several_that_fit_the_first_difference_decides_whatever_their_order() {
        let mut written = ["/...", "/:any", "/one", "/one/...", "/one/two/...", "/one/:x", "/:a/b"];
        for _ in 0..written.len() {
            written.rotate_left(1);
            let routes = routes(&written).unwrap();
            for (path, wanted) in [
                ("/", "/..."),
                ("/one", "/one"),
                ("/other", "/:any"),
                ("/one/two", "/one/two/..."),
                ("/one/two/three", "/one/two/..."),
                ("/one/three", "/one/:x"),
                ("/one/b", "/one/:x"),
                ("/other/b", "/:a/b"),
                ("/one/three/four", "/one/..."),
                ("/other/c", "/..."),
            ] {
                let chosen = found(&routes, path).map(|component| written[component]);
                assert_eq!(chosen, Some(wanted), "{path} of {written:?}");
            }
        }
    }

    #[test]
    fn the_same_text_counts_once_and_the_same_meaning_the_first_time() {
        let both = routes(&["/a", "/a", "/b"]).unwrap();
        assert_eq!((found(&both, "/a"), found(&both, "/b")), (Some(1), Some(2)));
        let meaning = routes(&["/x/:a", "/x/:b", "/y", "/y/"]).unwrap();
        assert_eq!((found(&meaning, "/x/1"), found(&meaning, "/y")), (Some(0), Some(2)));
    }

    #[test]
    fn what_a_route_takes_is_told() {
        for (route, path, info, parameters) in [
            ("/...", "/1/2", "/1/2", [].as_slice()),
            ("/...", "/", "/", &[]),
            ("/a/...", "/a", "", &[]),
            ("/a/...", "/a/", "/", &[]),
            ("/a/...", "/a/b", "/b", &[]),
            ("/a/...", "/a/b/", "/b/", &[]),
            ("/a", "/a/", "", &[]),
            ("/a/:x/...", "/a/1/b", "/b", &[("x", "1")]),
            ("/:x/:y", "/1/2%20", "", &[("x", "1"), ("y", "2%20")]),
        ] {
            let routes = routes(&[route]).unwrap();
            let Found::Route(route) = routes.find(path) else { panic!("{path}") };
            assert_eq!(route.path_info(path), info, "{path}");
            let taken = route.parameters(path);
            let taken: Vec<_> = taken.iter().map(|(name, it)| (name.as_str(), *it)).collect();
            assert_eq!(taken, parameters, "{path}");
        }
    }

    #[test]
    fn routes_that_mean_nothing_are_refused() {
        for (route, why) in [
            ("/.../a", "not all that follows"),
            ("/*/a", "not all that follows"),
            ("/a/*b", "not all that follows"),
            ("/:", "without a name"),
            ("/:a.txt", "not a whole segment"),
            ("/a.:b", "not a whole segment"),
            ("/a b", "characters"),
            ("/a\r\nx: y", "characters"),
        ] {
            let error = routes(&["/fine", route]).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.component, 1);
        }
    }

    #[test]
    fn without_routes_everything_is_for_the_only_component_and_with_them_spin_answers_too() {
        let none = Routes::new(&[]).unwrap();
        assert!(matches!(none.find("/.well-known/spin/health"), Found::Everything));
        let all = routes(&["/..."]).unwrap();
        assert!(matches!(all.find("/.well-known/spin/health"), Found::Health));
        assert!(matches!(all.find("/.well-known/spin/info"), Found::Nothing));
        assert!(matches!(all.find("/.well-known/spinning"), Found::Route(_)));
    }
}
