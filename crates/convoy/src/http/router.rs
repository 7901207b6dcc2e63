//! Finds the HTTP route of a request by path and method. Built when code is loaded, and
//! swapped together with it.
//!
//! The paths of Convoy itself are no routes: no route may be defined there, and a route with
//! parameters does not match them.

use std::collections::HashMap;
use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, header};
use percent_encoding::percent_decode_str;

use crate::dispatch::{Program, Route, RouteOptions};
use crate::error::{Code, Failure};

/// The methods that `route.all` takes.
const ALL_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// The paths of Convoy below its base path.
const OWN_PATHS: [&str; 10] =
    ["/query", "/mutation", "/action", "/subscribe", "/live", "/ws", "/health", "/ready", "/_live", "/openapi.json"];
/// The page of `convoy dev`.
const DEV_PAGE: &str = "/_convoy";

/// Why the routes of a program cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// A route whose path belongs to Convoy.
    #[error("The {route} is at a path of Convoy itself ({reserved}); choose another path.")]
    Reserved {
        /// The route.
        route: String,
        /// The prefix of the reserved paths.
        reserved: String,
    },
    /// Two routes of the same method and path.
    #[error("The {first} and the {second} answer the same requests; remove one, or change its method or path.")]
    Twice {
        /// One of them.
        first: String,
        /// The other one.
        second: String,
    },
    /// A path that cannot be told apart from another one.
    #[error("The {route} cannot be served beside the {other}, since a path may match both; change one of the paths.")]
    Conflict {
        /// The route.
        route: String,
        /// The path before it.
        other: String,
    },
    /// A path that is none.
    #[error("The {route} has an invalid path: {why}.")]
    Path {
        /// The route.
        route: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The routes of one program.
#[derive(Default)]
pub(crate) struct Routes {
    paths: matchit::Router<PathRoutes>,
}

/// The routes of one path.
#[derive(Default)]
struct PathRoutes {
    routes: Vec<Arc<Route>>,
}

/// A program and its routes.
pub(crate) struct Router {
    /// The program.
    pub program: Arc<Program>,
    /// Its routes.
    pub routes: Routes,
}

/// What was found for a request.
pub(super) enum Found {
    /// A route.
    Route(Matched),
    /// `OPTIONS` of a path whose routes do not answer it.
    Options {
        /// The methods that the path takes.
        allowed: String,
        /// The route of a preflight.
        preflighted: Option<Arc<Route>>,
    },
    /// The path exists, with other methods.
    Method {
        /// These methods.
        allowed: String,
    },
}

/// A route, with the parameters of its path as the URL has them.
pub(super) struct Matched {
    /// The program of the route.
    pub program: Arc<Program>,
    /// The route.
    pub route: Arc<Route>,
    params: Vec<(String, String)>,
}

impl Routes {
    /// Checks the routes of a program.
    pub(crate) fn build(routes: &[Arc<Route>], base: &str) -> Result<Routes, RoutesError> {
        let mut by_path: HashMap<String, PathRoutes> = HashMap::new();
        let mut order = Vec::new();
        for route in routes {
            if let Some(reserved) = reserved_prefix(&route.path, base) {
                return Err(RoutesError::Reserved { route: describe(route), reserved });
            }
            let path = pattern(&route.path);
            let at_path = by_path.entry(path.clone()).or_insert_with(|| {
                order.push(path);
                PathRoutes::default()
            });
            if let Some(first) = at_path.routes.iter().find(|other| other.method == route.method) {
                return Err(RoutesError::Twice { first: describe(first), second: describe(route) });
            }
            at_path.routes.push(route.clone());
        }
        let mut paths = matchit::Router::new();
        let mut written: HashMap<String, String> = HashMap::new();
        for path in order {
            let at_path = by_path.remove(&path).unwrap_or_default();
            let Some(first) = at_path.routes.first().cloned() else { continue };
            paths.insert(path.clone(), at_path).map_err(|error| {
                let route = describe(&first);
                match error {
                    matchit::InsertError::Conflict { with } => {
                        RoutesError::Conflict { route, other: written.get(&with).cloned().unwrap_or(with) }
                    }
                    error => RoutesError::Path { route, why: error.to_string() },
                }
            })?;
            written.insert(path, describe(&first));
        }
        Ok(Routes { paths })
    }
}

impl Router {
    /// Finds what answers a request; `None` if its path is not that of a route.
    pub(super) fn find(&self, head: &Parts, base: &str) -> Option<Found> {
        let found = self.routes.at(head.uri.path(), base)?;
        let at_path = found.value;
        let route = match at_path.of(head.method.as_str()) {
            Some(route) => route.clone(),
            None if head.method == Method::OPTIONS => {
                let requested = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD);
                let requested = requested.and_then(|method| method.to_str().ok());
                let preflighted = requested.and_then(|method| at_path.of(method)).cloned();
                return Some(Found::Options { allowed: at_path.allowed(), preflighted });
            }
            None => return Some(Found::Method { allowed: at_path.allowed() }),
        };
        let values = found.params.iter().map(|(_, value)| value.to_owned());
        let params = names(&route.path).map(str::to_owned).zip(values).collect();
        Some(Found::Route(Matched { program: self.program.clone(), route, params }))
    }
}

impl Routes {
    /// Whether a path is that of a route.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn has(&self, path: &str, base: &str) -> bool {
        self.at(path, base).is_some()
    }

    /// The routes of a path.
    fn at<'a>(&'a self, path: &'a str, base: &str) -> Option<matchit::Match<'a, 'a, &'a PathRoutes>> {
        if reserved_prefix(path, base).is_some() {
            return None;
        }
        let found = self.paths.at(path).ok()?;
        // A parameter does not match the base path, so unknown paths below it stay Convoy's.
        let names_base = || found.value.routes.iter().any(|route| is_under(&route.path, base));
        let is_free = base.is_empty() || !is_under(path, base) || names_base();
        is_free.then_some(found)
    }
}

impl Found {
    /// The options by which the request is checked.
    pub(super) fn options(&self) -> Option<&RouteOptions> {
        match self {
            Found::Route(matched) => Some(&matched.route.options),
            Found::Options { preflighted, .. } => preflighted.as_ref().map(|route| &route.options),
            Found::Method { .. } => None,
        }
    }
}

impl Matched {
    /// The parameters of the path, decoded.
    pub(super) fn params(&self) -> Result<HashMap<&str, String>, Failure> {
        let decode = |(name, value): &'_ (String, String)| {
            percent_decode_str(value).decode_utf8().map(|value| value.into_owned()).map_err(|_| {
                Failure::new(Code::InvalidArgs, format!("The part of the URL for `{name}` is not valid UTF-8."))
            })
        };
        self.params.iter().map(|param| Ok((param.0.as_str(), decode(param)?))).collect()
    }
}

impl PathRoutes {
    /// The route of a method. `GET` also answers `HEAD`.
    fn of(&self, method: &str) -> Option<&Arc<Route>> {
        let exact = |method: &str| self.routes.iter().find(|route| route.method.as_deref() == Some(method));
        let get = || if method == "HEAD" { exact("GET") } else { None };
        let all = || self.routes.iter().find(|route| route.method.is_none() && ALL_METHODS.contains(&method));
        exact(method).or_else(get).or_else(all)
    }

    /// The methods that are answered, for `Allow`.
    fn allowed(&self) -> String {
        let answered = ALL_METHODS.into_iter().filter(|method| self.of(method).is_some());
        answered.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ")
    }
}

/// A route in messages for its developer.
fn describe(route: &Route) -> String {
    format!("route `{}` of convoy/http.ts ({})", route.name, route.function.name)
}

/// The path of Convoy itself that a path is under. Other paths below the base path are free:
/// `/api/auth/…` may be a route.
fn reserved_prefix(path: &str, base: &str) -> Option<String> {
    if is_under(path, DEV_PAGE) {
        return Some(DEV_PAGE.to_owned());
    }
    let below = path.strip_prefix(base)?;
    let own = OWN_PATHS.into_iter().find(|own| is_under(below, own))?;
    Some(format!("{base}{own}"))
}

/// Whether a path is `prefix`, or below it.
fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The names of the parameters of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix([':', '*']))
}

/// A path in the syntax of the router. Parameters are numbered, so that routes of the same
/// path may name them differently.
fn pattern(path: &str) -> String {
    let mut number = 0..;
    let mut next = || number.next().unwrap_or(0);
    let segments = path.split('/').map(|segment| match segment.split_at_checked(1) {
        Some((":", _)) => format!("{{p{}}}", next()),
        Some(("*", _)) => format!("{{*p{}}}", next()),
        _ => segment.replace('{', "{{").replace('}', "}}"),
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::route_of;

    fn build(routes: &[(&str, &str)], base: &str) -> Result<Routes, RoutesError> {
        let routes: Vec<_> = routes
            .iter()
            .zip(0..)
            .map(|((method, path), index)| route_of(&format!("route{index}"), method, path))
            .collect();
        Routes::build(&routes, base)
    }

    fn refusal(routes: &[(&str, &str)], base: &str) -> String {
        build(routes, base).err().expect("it is refused").to_string()
    }

    fn allowed(routes: &[(&str, &str)], path: &str) -> String {
        let routes = build(routes, "/api").expect("routes");
        routes.paths.at(path).expect("a path").value.allowed()
    }

    fn answering(routes: &[(&str, &str)], method: &str, path: &str) -> Option<String> {
        let routes = build(routes, "/api").expect("routes");
        let found = routes.at(path, "/api")?;
        let route = found.value.of(method)?;
        let values = found.params.iter().map(|(_, value)| value);
        let params: Vec<_> = names(&route.path).zip(values).map(|(name, value)| format!(" {name}={value}")).collect();
        Some(format!("{}{}", route.function.name, params.concat()))
    }

    #[test]
    fn a_request_goes_to_the_most_specific_route_of_its_path_and_method() {
        let routes = [
            ("GET", "/"),
            ("GET", "/hooks/:id"),
            ("POST", "/hooks/:name"),
            ("POST", "/hooks/stripe"),
            ("ALL", "/auth/*rest"),
            ("POST", "/auth/*path"),
            ("GET", "/a{b}/:x/:y"),
        ];
        let of = |method: &str, path: &str| answering(&routes, method, path).unwrap_or_else(|| "none".into());
        assert_eq!(of("GET", "/"), "GET /");
        assert_eq!(of("GET", "/hooks/7"), "GET /hooks/:id id=7");
        assert_eq!(of("HEAD", "/hooks/7"), "GET /hooks/:id id=7");
        assert_eq!(of("POST", "/hooks/7"), "POST /hooks/:name name=7");
        assert_eq!(of("POST", "/hooks/stripe"), "POST /hooks/stripe");
        assert_eq!(of("GET", "/hooks/stripe"), "none");
        assert_eq!(of("PUT", "/auth/sign/in"), "ALL /auth/*rest rest=sign/in");
        assert_eq!(of("POST", "/auth/sign/in"), "POST /auth/*path path=sign/in");
        assert_eq!(of("OPTIONS", "/auth/x"), "none");
        assert_eq!(of("PROPFIND", "/auth/x"), "none");
        assert_eq!(of("GET", "/a{b}/1/2"), "GET /a{b}/:x/:y x=1 y=2");
        for missing in ["/hooks", "/hooks/", "/hooks/7/", "/hooks/7/8", "/auth", "/auth/", "/Hooks/7"] {
            assert_eq!(of("GET", missing), "none", "{missing}");
        }
    }

    #[test]
    fn the_allowed_methods_of_a_path_include_those_answered_for_it() {
        assert_eq!(allowed(&[("GET", "/x"), ("DELETE", "/x")], "/x"), "GET, HEAD, DELETE, OPTIONS");
        assert_eq!(allowed(&[("POST", "/x"), ("OPTIONS", "/x")], "/x"), "POST, OPTIONS");
        assert_eq!(allowed(&[("ALL", "/x")], "/x"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }

    #[test]
    fn the_paths_of_convoy_are_reserved() {
        for path in ["/api/query", "/api/query/:name", "/api/live/x", "/api/openapi.json", "/_convoy", "/_convoy/x"] {
            let refused = refusal(&[("GET", path)], "/api");
            assert!(
                refused.starts_with(&format!("The route `route0` of convoy/http.ts (GET {path}) is at")),
                "{refused}"
            );
        }
        let free = ["/apis", "/:any/x", "/_convoys", "/api/auth/*rest", "/api/queries"];
        assert!(build(&free.map(|path| ("GET", path)), "/api").is_ok());
        assert!(refusal(&[("GET", "/v1/api/ws")], "/v1/api").contains("(/v1/api/ws)"));
        assert!(build(&[("GET", "/api/ws"), ("GET", "/v1/x")], "/v1/api").is_ok());
        assert!(refusal(&[("GET", "/query/:name")], "").contains("(/query)"));
        assert!(build(&[("GET", "/queries")], "").is_ok());
    }

    #[test]
    fn paths_below_the_base_path_are_found_by_routes_that_name_it() {
        let routes = [("ALL", "/api/auth/*rest"), ("GET", "/*page")];
        let found = |method: &str, path: &str| answering(&routes, method, path).unwrap_or_else(|| "none".into());
        assert_eq!(found("POST", "/api/auth/sign-in"), "ALL /api/auth/*rest rest=sign-in");
        assert_eq!(found("GET", "/about"), "GET /*page page=about");
        for path in ["/api/query/x", "/api/unknown", "/api", "/_convoy"] {
            assert_eq!(found("GET", path), "none", "{path}");
        }
    }

    #[test]
    fn routes_that_cannot_be_told_apart_are_refused_with_both_names() {
        let twice = refusal(&[("GET", "/a/:x"), ("POST", "/a/:x"), ("GET", "/a/:y")], "/api");
        assert!(twice.contains("`route0`") && twice.contains("(GET /a/:y)"), "{twice}");
        let conflict = refusal(&[("GET", "/a/:x"), ("POST", "/a/*rest")], "/api");
        assert!(conflict.contains("`route1`") && conflict.contains("`route0`"), "{conflict}");
        assert!(refusal(&[("GET", "/a/*rest/b")], "/api").contains("invalid path"));
    }
}
