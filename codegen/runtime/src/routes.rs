//! The outermost endpoint of a generated server: 404 and 405, by the document's own table of
//! routes.

use std::sync::Arc;

use poem::{
    Endpoint, IntoEndpoint, IntoResponse, Request, Response, Result,
    error::{MethodNotAllowedError, NotFoundError},
    http::{Uri, uri::PathAndQuery},
};

use crate::{Limits, Rejection, Rejections};

/// A route of the document: method, path template (`/orders/{order_id}`), operation id.
pub type Route = (&'static str, &'static str, &'static str);

/// What every operation needs to know about the server that it is part of.
#[derive(Clone)]
pub(crate) struct Handling {
    pub(crate) rejections: Arc<dyn Rejections>,
    pub(crate) limits: Limits,
}

/// A poem-openapi service of which every rejection is answered by one [`Rejections`].
pub struct Guarded<E> {
    service: E,
    routes: &'static [Route],
    handling: Handling,
}

impl<E: Endpoint> Guarded<E> {
    /// Guards a service that has these routes and no others.
    pub fn new<S: IntoEndpoint<Endpoint = E>>(
        service: S,
        routes: &'static [Route],
        rejections: Arc<dyn Rejections>,
        limits: Limits,
    ) -> Self {
        Self { service: service.into_endpoint(), routes, handling: Handling { rejections, limits } }
    }
}

impl<E: Endpoint> Endpoint for Guarded<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> Result<Response> {
        request.set_data(self.handling.clone());
        take_query(&mut request);
        let path = request.uri().path().to_owned();
        match self.service.call(request).await {
            Ok(response) => Ok(response.into_response()),
            // poem's router knows neither `Allow` nor how this server words its errors.
            Err(error) if error.is::<MethodNotAllowedError>() => Ok(self
                .handling
                .rejections
                .respond(Rejection::MethodNotAllowed { allowed: allowed(self.routes, &path) })),
            Err(error) if error.is::<NotFoundError>() => {
                Ok(self.handling.rejections.respond(Rejection::UnknownRoute))
            }
            Err(error) => Ok(error.into_response()),
        }
    }
}

/// The query of a request, for its contract alone.
#[derive(Clone)]
pub(crate) struct Query(PathAndQuery);

impl Query {
    /// The query of the request, as it was sent; empty if there is none.
    pub(crate) fn of(request: &Request) -> &str {
        request.data::<Self>().and_then(|query| query.0.query()).unwrap_or_default()
    }
}

/// Takes the query out of the request's URI. poem-openapi would decode every pair of it, at fifty
/// times its length, before it looks for a route.
fn take_query(request: &mut Request) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(whole) = parts.path_and_query.take_if(|whole| whole.query().is_some()) {
        let path = PathAndQuery::try_from(whole.path()).expect("the path of a URI is one");
        parts.path_and_query = Some(path);
        request.set_data(Query(whole));
    }
    *request.uri_mut() = Uri::from_parts(parts).expect("it was one, with a query");
}

/// The methods that a path has, for `Allow`: poem-openapi serves HEAD wherever there is GET, as RFC
/// 9110 wants it.
fn allowed(routes: &[Route], path: &str) -> Vec<&'static str> {
    // As in the router, a template with fewer variables wins: `/orders/latest` before
    // `/orders/{order_id}`.
    let variables = |template: &str| template.matches('{').count();
    let mut candidates: Vec<&Route> =
        routes.iter().filter(|(_, template, _)| matches(template, path)).collect();
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

fn matches(template: &str, path: &str) -> bool {
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
    fn the_query_is_taken_out_of_the_uri_as_it_was_sent() {
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
                (request.uri().to_string().as_str(), Query::of(&request)),
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
    fn lists_the_methods_of_a_path() {
        assert_eq!(allowed(ROUTES, "/orders"), ["GET", "HEAD", "POST"]);
        assert_eq!(allowed(ROUTES, "/orders/1"), ["GET", "HEAD"]);
        assert_eq!(allowed(ROUTES, "/orders/latest"), ["DELETE"]);
        assert_eq!(allowed(ROUTES, "/users/1/password"), ["PUT"]);
        assert!(allowed(ROUTES, "/users/1").is_empty());
        assert!(allowed(ROUTES, "/orders/1/2").is_empty());
    }
}
