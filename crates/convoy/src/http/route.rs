//! Parses the method and path of a request into a route.

use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::config::Config;
use crate::dispatch::FunctionKind;
use crate::error::{Code, Failure};
use crate::telemetry::Route as Template;

/// A route of the HTTP API.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `GET /api/health`
    Health,
    /// `GET /api/ready`
    Ready,
    /// `POST /api/query/<name>`, `POST /api/mutation/<name>`, `POST /api/action/<name>`
    Call {
        /// The kind in the path.
        kind: FunctionKind,
        /// The function's name.
        name: String,
    },
    /// `GET /api/query/<name>?args=…`, and other methods than POST
    Query {
        /// The query's name.
        name: String,
        /// Its input, JSON text.
        input: String,
    },
    /// `GET /api/openapi.json`
    OpenApi,
    /// `GET /api/subscribe?name=…&args=…`
    Subscribe {
        /// The query's name.
        name: String,
        /// Its input, JSON text.
        input: String,
    },
    /// `POST /api/live`
    Live,
    /// `POST /api/live/<session>`
    UpdateSession {
        /// The session's id, not yet parsed.
        session: String,
    },
    /// `GET /api/ws`
    Socket,
    /// `GET /api/_live`, in development
    Overview {
        /// The function whose live queries are described with their last runs.
        function: Option<String>,
    },
}

/// The reason that a request has no route.
#[derive(Debug)]
pub(super) enum RouteError {
    /// There is no such path.
    Unknown(Failure),
    /// A parameter is invalid.
    Refused(Failure),
    /// The path exists, with another method.
    Method {
        /// The method it takes.
        allowed: &'static str,
    },
}

impl From<Failure> for RouteError {
    fn from(failure: Failure) -> RouteError {
        RouteError::Refused(failure)
    }
}

impl Route {
    /// Whether a path is one of Convoy's, for any method.
    pub(super) fn is_route(method: &Method, uri: &Uri, config: &Config) -> bool {
        match Route::parse(method, uri, &config.base_path) {
            Ok(Route::Overview { .. }) => config.dev,
            Ok(Route::OpenApi) => config.openapi.is_some(),
            Err(RouteError::Unknown(_)) => false,
            Ok(_) | Err(RouteError::Refused(_) | RouteError::Method { .. }) => true,
        }
    }

    /// The template of its path, for telemetry.
    pub(super) fn template(&self) -> Template {
        match self {
            Route::Call { kind: FunctionKind::Query, .. } | Route::Query { .. } => Template::Query,
            Route::Call { kind: FunctionKind::Mutation, .. } => Template::Mutation,
            Route::Call { kind: FunctionKind::Action, .. } => Template::Action,
            Route::Live => Template::Live,
            Route::UpdateSession { .. } => Template::Session,
            Route::Socket => Template::Socket,
            Route::Subscribe { .. } => Template::Subscribe,
            Route::Health | Route::Ready | Route::OpenApi | Route::Overview { .. } => Template::Other,
        }
    }

    /// Parses method and URI.
    pub(super) fn parse(method: &Method, uri: &Uri, base: &str) -> Result<Route, RouteError> {
        let outside =
            || Failure::new(Code::NotFound, format!("There is no such path; paths of Convoy begin with {base}/."));
        let path = uri.path().strip_prefix(base).and_then(|path| path.strip_prefix('/'));
        let path = path.ok_or_else(|| RouteError::Unknown(outside()))?;
        // Some servers and proxies redirect to paths that end with a slash.
        let path = path.strip_suffix('/').unwrap_or(path);
        match path.split_once('/') {
            None if path == "health" => only(method, "GET").map(|()| Route::Health),
            None if path == "ready" => only(method, "GET").map(|()| Route::Ready),
            None if path == "subscribe" => {
                only(method, "GET")?;
                let query = uri.query().unwrap_or_default();
                let name = parameter(query, "name")?
                    .ok_or_else(|| Failure::new(Code::InvalidArgs, "The parameter `name` is missing."))?;
                Ok(Route::Subscribe { name, input: arguments(query)? })
            }
            None if path == "openapi.json" => Ok(Route::OpenApi),
            None if path == "live" => only(method, "POST").map(|()| Route::Live),
            None if path == "ws" => only(method, "GET").map(|()| Route::Socket),
            None if path == "_live" => {
                only(method, "GET")?;
                Ok(Route::Overview { function: parameter(uri.query().unwrap_or_default(), "name")? })
            }
            Some(("live", session)) if !session.contains('/') => {
                only(method, "POST")?;
                Ok(Route::UpdateSession { session: session.to_owned() })
            }
            Some((kind, name)) if !name.is_empty() && !name.contains('/') => {
                let kind = FunctionKind::parse(kind).ok_or_else(|| RouteError::Unknown(unknown(base)))?;
                if kind == FunctionKind::Query && *method != Method::POST {
                    // The program tells which of them it takes.
                    let input = arguments(uri.query().unwrap_or_default())?;
                    return Ok(Route::Query { name: decode(name)?, input });
                }
                only(method, "POST")?;
                Ok(Route::Call { kind, name: decode(name)? })
            }
            _ => Err(RouteError::Unknown(unknown(base))),
        }
    }
}

/// The failure for a path below the base path that is not a route.
pub(super) fn unknown(base: &str) -> Failure {
    let called = ["query", "mutation", "action"].map(|kind| format!("{base}/{kind}/<name>")).join(", ");
    let message = format!("There is no such path; functions are called at {called}, with names such as messages.list.");
    Failure::new(Code::NotFound, message)
}

fn only(method: &Method, allowed: &'static str) -> Result<(), RouteError> {
    if method.as_str() == allowed { Ok(()) } else { Err(RouteError::Method { allowed }) }
}

/// The parameter `args`: the arguments as a JSON object.
fn arguments(query: &str) -> Result<String, Failure> {
    Ok(parameter(query, "args")?.unwrap_or_else(|| "{}".to_owned()))
}

/// The first value of a query parameter.
pub(super) fn parameter(query: &str, name: &str) -> Result<Option<String>, Failure> {
    for pair in query.split('&') {
        if let Some((key, value)) = pair.split_once('=')
            && key == name
        {
            return decode(&value.replace('+', " ")).map(Some);
        }
    }
    Ok(None)
}

fn decode(text: &str) -> Result<String, Failure> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Failure::new(Code::InvalidArgs, "The URL is not valid UTF-8."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, uri: &str) -> Result<Route, Code> {
        Route::parse(&method, &uri.parse().expect("a URI"), "/api").map_err(|error| match error {
            RouteError::Unknown(failure) | RouteError::Refused(failure) => failure.code,
            RouteError::Method { .. } => Code::MethodNotAllowed,
        })
    }

    #[test]
    fn a_wrong_api_path_explains_how_to_call_functions() {
        for uri in ["/api/querry/messages.list", "/api/query/messages/list", "/api/messages.list"] {
            let refused = Route::parse(&Method::POST, &uri.parse().expect("a URI"), "/api");
            let Err(RouteError::Unknown(failure)) = refused else { panic!("{uri} is parsed as {refused:?}") };
            assert!(failure.message.contains("/api/query/<name>"), "{uri}: {failure}");
        }
    }

    #[test]
    fn one_slash_at_the_end_of_a_path_is_ignored() {
        let call = Ok(Route::Call { kind: FunctionKind::Query, name: "a.b".into() });
        assert_eq!(parse(Method::POST, "/api/query/a.b/?x=1"), call);
        assert_eq!(parse(Method::GET, "/api/health/"), Ok(Route::Health));
        assert_eq!(parse(Method::POST, "/api/live/ab/"), Ok(Route::UpdateSession { session: "ab".into() }));
        for uri in ["/api/health//", "/api/query/a//", "/api//health"] {
            assert_eq!(parse(Method::GET, uri), Err(Code::NotFound), "{uri}");
        }
    }

    #[test]
    fn only_the_documented_paths_are_routes() {
        let call = |kind, name: &str| Ok(Route::Call { kind, name: name.into() });
        assert_eq!(parse(Method::GET, "/api/health"), Ok(Route::Health));
        assert_eq!(parse(Method::GET, "/api/ready"), Ok(Route::Ready));
        assert_eq!(parse(Method::POST, "/api/query/a.b"), call(FunctionKind::Query, "a.b"));
        assert_eq!(parse(Method::POST, "/api/mutation/a%2Eb?x=1"), call(FunctionKind::Mutation, "a.b"));
        assert_eq!(
            parse(Method::GET, "/api/subscribe?args=%7B%22a%22:+1%7D&name=x"),
            Ok(Route::Subscribe { name: "x".into(), input: r#"{"a": 1}"#.into() })
        );
        assert_eq!(parse(Method::POST, "/api/live"), Ok(Route::Live));
        assert_eq!(parse(Method::POST, "/api/live/ab"), Ok(Route::UpdateSession { session: "ab".into() }));
        assert_eq!(parse(Method::GET, "/api/ws"), Ok(Route::Socket));
        assert_eq!(parse(Method::GET, "/api/live"), Err(Code::MethodNotAllowed));
        for uri in [
            "/",
            "/api",
            "/api/",
            "/apix/health",
            "/api/auth/login",
            "/api/query/",
            "/api/query/a/b",
            "/api/live/a/b",
            "/health",
        ] {
            assert_eq!(parse(Method::POST, uri), Err(Code::NotFound), "{uri}");
        }
        let query = |input: &str| Ok(Route::Query { name: "a".into(), input: input.into() });
        assert_eq!(parse(Method::GET, "/api/query/a"), query("{}"));
        assert_eq!(parse(Method::HEAD, "/api/query/a?args=%7B%22a%22:1%7D"), query(r#"{"a":1}"#));
        assert_eq!(parse(Method::GET, "/api/query/a?args=%ff"), Err(Code::InvalidArgs));
        assert_eq!(parse(Method::GET, "/api/mutation/a"), Err(Code::MethodNotAllowed));
        assert_eq!(parse(Method::GET, "/api/openapi.json"), Ok(Route::OpenApi));
        assert_eq!(parse(Method::POST, "/api/health"), Err(Code::MethodNotAllowed));
        assert_eq!(parse(Method::GET, "/api/subscribe"), Err(Code::InvalidArgs));
    }
}
