//! The outermost endpoint of a generated server. Responds with 404 or 405 to requests that match no
//! route of the document.

use std::sync::Arc;

use poem::{
    Endpoint, IntoEndpoint, IntoResponse, Request, Response, Result,
    error::{MethodNotAllowedError, NotFoundError},
    http::{Uri, uri::PathAndQuery},
};

use crate::{Limits, Rejection, RejectionHandler};

/// A route of the document: method, path template (`/orders/{order_id}`), operation id.
pub type Route = (&'static str, &'static str, &'static str);

/// The server's settings that each operation needs.
#[derive(Clone)]
pub(crate) struct ServerConfig {
    pub(crate) rejections: Arc<dyn RejectionHandler>,
    pub(crate) limits: Limits,
}

/// A poem-openapi service whose rejections go to one [`RejectionHandler`].
pub struct ServiceEndpoint<E> {
    service: E,
    routes: &'static [Route],
    config: ServerConfig,
}

impl<E: Endpoint> ServiceEndpoint<E> {
    /// Wraps a service that has exactly these routes.
    pub fn new<S: IntoEndpoint<Endpoint = E>>(
        service: S,
        routes: &'static [Route],
        rejections: Arc<dyn RejectionHandler>,
        limits: Limits,
    ) -> Self {
        Self {
            service: service.into_endpoint(),
            routes,
            config: ServerConfig { rejections, limits },
        }
    }
}

impl<E: Endpoint> Endpoint for ServiceEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        request.set_data(self.config.clone());
        take_query(&mut request);
        let uri = request.uri().clone();
        match self.service.call(request).await {
            Ok(response) => Ok(response.into_response()),
            // poem's error has no `Allow`.
            Err(error) if error.is::<MethodNotAllowedError>() => {
                Ok(self.config.rejections.respond(Rejection::MethodNotAllowed {
                    allowed: allowed_methods(self.routes, uri.path()),
                }))
            }
            Err(error) if error.is::<NotFoundError>() => {
                Ok(self.config.rejections.respond(Rejection::UnknownRoute))
            }
            Err(error) => Ok(error.into_response()),
        }
    }
}

/// The query of a request, for its validator.
#[derive(Clone)]
pub(crate) struct RawQuery(PathAndQuery);

impl RawQuery {
    /// Returns the query as sent, or an empty string.
    pub(crate) fn of(request: &Request) -> &str {
        request.data::<Self>().and_then(|query| query.0.query()).unwrap_or_default()
    }
}

/// Removes the query from the request's URI. poem-openapi would decode each pair, in fifty times
/// the query's length, before routing.
pub(crate) fn take_query(request: &mut Request) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(whole) = parts.path_and_query.take_if(|whole| whole.query().is_some()) {
        let path = PathAndQuery::try_from(whole.path())
            .expect("the path of a URI is a valid path and query");
        parts.path_and_query = Some(path);
        request.set_data(RawQuery(whole));
    }
    *request.uri_mut() = Uri::from_parts(parts).expect("a URI without its query is valid");
}

/// Returns the methods of a path for `Allow`. poem-openapi serves HEAD for each GET (RFC 9110).
fn allowed_methods(routes: &[Route], path: &str) -> Vec<&'static str> {
    // The router prefers a template with fewer variables: `/orders/latest` to `/orders/{order_id}`.
    let variables = |template: &str| template.matches('{').count();
    let mut candidates: Vec<&Route> =
        routes.iter().filter(|(_, template, _)| matches_template(template, path)).collect();
    candidates.sort_by_key(|(_, template, _)| variables(template));
    let Some((_, best, _)) = candidates.first() else { return Vec::new() };
    let mut methods: Vec<&'static str> = candidates
        .iter()
        .filter(|(_, template, _)| template == best)
        .map(|(method, _, _)| *method)
        .collect();
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods
}

fn matches_template(template: &str, path: &str) -> bool {
    let (mut templates, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (templates.next(), segments.next()) {
            (None, None) => return true,
            (Some(template), Some(segment)) if template.starts_with('{') || template == segment => {
            }
            (_, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_removed_from_the_uri_verbatim() {
        for (sent, left, query) in [
            ("/books?a=%41&b", "/books", "a=%41&b"),
            ("/books?", "/books", ""),
            ("/books", "/books", ""),
            ("/?x", "/", "x"),
            ("//a/?x?y", "//a/", "x?y"),
            ("*", "*", ""),
            ("http://shop.example/books?x", "http://shop.example/books", "x"),
            ("shop.example:80", "shop.example:80", ""),
        ] {
            let mut request = Request::builder().uri(sent.parse().expect("a URI")).finish();
            take_query(&mut request);
            assert_eq!(
                (request.uri().to_string().as_str(), RawQuery::of(&request)),
                (left, query),
                "{sent}"
            );
        }
    }

    const ROUTES: &[Route] = &[
        ("GET", "/orders", "list"),
        ("POST", "/orders", "place"),
        ("GET", "/orders/{id}", "get"),
        ("DELETE", "/orders/latest", "forget"),
        ("PUT", "/users/{id}/password", "change"),
    ];

    #[test]
    fn allowed_methods_include_head_for_get() {
        assert_eq!(allowed_methods(ROUTES, "/orders"), ["GET", "HEAD", "POST"]);
        assert_eq!(allowed_methods(ROUTES, "/orders/1"), ["GET", "HEAD"]);
        assert_eq!(allowed_methods(ROUTES, "/orders/latest"), ["DELETE"]);
        assert_eq!(allowed_methods(ROUTES, "/users/1/password"), ["PUT"]);
        assert!(allowed_methods(ROUTES, "/users/1").is_empty());
        assert!(allowed_methods(ROUTES, "/orders/1/2").is_empty());
    }
}
