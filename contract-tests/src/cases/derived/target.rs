//! An operation with its declarations, and valid requests to it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    members::{self, Extent},
    request::Request,
};
use crate::{
    document::{Document, Location, Operation, Parameter},
    suite::{Answer, Case, Context, Failure, User},
};

#[derive(Clone)]
pub(super) struct Target {
    document: Arc<Document>,
    index: usize,
    resources: Arc<Resources>,
}

/// Ids of resources that cases share, by path parameter and user.
type Resources = Mutex<HashMap<(String, String), Arc<OnceCell<Value>>>>;

#[derive(Clone, Copy, Debug)]
pub(super) struct RequestPlan<'u> {
    pub(super) user: &'u User,
    /// Whether the request has the user's credentials; otherwise those of an unknown user.
    pub(super) valid_credentials: bool,
    /// Whether the request needs resources of its own, because it changes them.
    pub(super) own_resources: bool,
}

impl<'u> RequestPlan<'u> {
    pub(super) fn without_effect(user: &'u User) -> Self {
        Self { user, valid_credentials: false, own_resources: false }
    }

    pub(super) fn effective(user: &'u User) -> Self {
        Self { user, valid_credentials: true, own_resources: true }
    }
}

impl Target {
    pub(super) fn all(document: &Arc<Document>) -> Vec<Self> {
        let resources = Arc::default();
        (0..document.operations().len())
            .map(|index| Self {
                document: Arc::clone(document),
                index,
                resources: Arc::clone(&resources),
            })
            .collect()
    }

    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    pub(super) fn operation(&self) -> &Operation {
        &self.document.operations()[self.index]
    }

    pub(super) fn id(&self) -> &str {
        &self.operation().id
    }

    pub(super) fn case<F, Fut>(&self, status: u16, name: impl Into<String>, run: F) -> Case
    where
        F: FnOnce(Context, Self, String) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (target, name) = (self.clone(), name.into());
        Case::new(self.id(), status, name.clone(), move |context| run(context, target, name))
    }

    pub(super) fn declares(&self, status: u16) -> bool {
        self.operation().responses.contains_key(&status)
    }

    pub(super) fn success(&self) -> u16 {
        self.operation()
            .responses
            .keys()
            .copied()
            .find(|status| (200..300).contains(status))
            .unwrap_or(200)
    }

    pub(super) fn success_schema(&self) -> Option<&Value> {
        let content = &self.operation().responses.get(&self.success())?.content;
        Some(self.document.resolve(&content.get("application/json")?.schema))
    }

    /// Whether the method is safe (RFC 9110 §9.2.1).
    pub(super) fn is_safe(&self) -> bool {
        self.operation().method.is_safe()
    }

    pub(super) fn parameters(&self, location: Location) -> impl Iterator<Item = &Parameter> {
        self.operation().parameters.iter().filter(move |parameter| parameter.location == location)
    }

    pub(super) fn header(&self, name: &str) -> Option<&Parameter> {
        self.parameters(Location::Header)
            .find(|parameter| parameter.name.eq_ignore_ascii_case(name))
    }

    pub(super) fn body(&self) -> Option<&Value> {
        self.operation().request_body.as_ref().map(|body| self.document.resolve(&body.schema))
    }

    pub(super) fn members(&self) -> Vec<members::Member> {
        self.body().map(|body| members::of(&self.document, body)).unwrap_or_default()
    }

    /// Whether the body has a password: then each valid request costs a hash of half a second.
    pub(super) fn takes_a_password(&self) -> bool {
        self.members().iter().any(|member| member.schema["format"] == "password")
    }

    /// Whether success returns a token: then failed attempts are counted.
    pub(super) fn returns_a_token(&self) -> bool {
        self.success_schema().is_some_and(|schema| schema["properties"]["access_token"].is_object())
    }

    fn is_id(&self, name: &str) -> bool {
        self.document
            .operations()
            .iter()
            .any(|operation| operation.parameter(Location::Path, name).is_some())
    }

    /// A valid request of this user, with required parameters and a body of this extent.
    pub(super) async fn valid(
        &self,
        context: &Context,
        plan: RequestPlan<'_>,
        extent: Extent,
    ) -> Result<Request, Failure> {
        let operation = self.operation();
        let mut request = Request::to(operation);
        if operation.secured {
            request.authorize(&plan.user.token);
        }
        for parameter in operation.parameters.iter().filter(|parameter| parameter.required) {
            let value = match self.runtime_value(context, plan, &parameter.name).await? {
                Some(value) => value,
                None => parameter
                    .example
                    .clone()
                    .or_else(|| members::sample(&self.document, &parameter.schema, extent))
                    .ok_or_else(|| {
                        Failure::new(format!(
                            "the document has no example of the parameter {}, and the suite cannot \
                             generate one",
                            parameter.name
                        ))
                    })?,
            };
            request.set(parameter.location, &parameter.name, &plain(&value));
        }
        if let Some(schema) = self.body() {
            let mut body = members::sample(&self.document, schema, extent).ok_or_else(|| {
                Failure::new(
                    "the document has no example of the body, and the suite cannot generate one",
                )
            })?;
            for member in self.members() {
                if body.pointer(&member.pointer).is_some()
                    && let Some(value) = self.runtime_value(context, plan, &member.name).await?
                    && let Some(place) = body.pointer_mut(&member.pointer)
                {
                    *place = value;
                }
            }
            request.json(&body);
        }
        Ok(request)
    }

    pub(super) async fn path_value(
        &self,
        context: &Context,
        plan: RequestPlan<'_>,
        name: &str,
    ) -> Result<Value, Failure> {
        self.runtime_value(context, plan, name)
            .await?
            .ok_or_else(|| Failure::new(format!("the suite cannot find the resource of {name}")))
    }

    /// Values that no document has: ids of existing resources and a user's secrets.
    async fn runtime_value(
        &self,
        context: &Context,
        plan: RequestPlan<'_>,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        match name {
            "user_id" => Ok(Some(Value::from(plan.user.id.as_str()))),
            "product_id" => Ok(Some(Value::from(context.product().await?.id))),
            "current_password" if plan.valid_credentials => {
                Ok(Some(Value::from(plan.user.password.as_str())))
            }
            "username" if plan.valid_credentials && self.returns_a_token() => {
                Ok(Some(Value::from(plan.user.username.as_str())))
            }
            "password" if plan.valid_credentials && self.returns_a_token() => {
                Ok(Some(Value::from(plan.user.password.as_str())))
            }
            name if self.is_id(name) => self.resource(context, plan, name).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The id of a resource of this user: shared, or new if the request changes it.
    async fn resource(
        &self,
        context: &Context,
        plan: RequestPlan<'_>,
        name: &str,
    ) -> Result<Value, Failure> {
        if plan.own_resources {
            return self.new_resource(context, plan, name).await;
        }
        let key = (name.to_owned(), plan.user.id.clone());
        let resource = Arc::clone(
            self.resources.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default(),
        );
        resource.get_or_try_init(|| self.new_resource(context, plan, name)).await.cloned()
    }

    /// Created by `POST` at the path before `/{name}`, or else the first item of its `GET`.
    async fn new_resource(
        &self,
        context: &Context,
        plan: RequestPlan<'_>,
        name: &str,
    ) -> Result<Value, Failure> {
        let ending = format!("/{{{name}}}");
        let operations = self.document.operations();
        let collection = operations
            .iter()
            .find_map(|operation| Some(&operation.path[..operation.path.find(&ending)?]));
        let at = |method: &str| collection.and_then(|path| self.at(method, path));
        let id = if let Some(maker) =
            at("POST").filter(|maker| maker.declares(201) && maker.operation().secured)
        {
            let request = Box::pin(maker.valid(
                context,
                RequestPlan { own_resources: false, ..plan },
                Extent::Required,
            ))
            .await?;
            request.call(context).expect(201).await?.json()["id"].clone()
        } else if let Some(list) = at("GET") {
            let request = Box::pin(list.valid(
                context,
                RequestPlan { own_resources: false, ..plan },
                Extent::Required,
            ))
            .await?;
            request.call(context).expect(200).await?.json()["items"][0]["id"].clone()
        } else {
            return Err(Failure::new(format!(
                "the document has no operation that creates or lists the resource of {name}"
            )));
        };
        if id.is_null() {
            Err(Failure::new(format!("there is no resource for {name}")))
        } else {
            Ok(id)
        }
    }
}

impl Target {
    fn at(&self, method: &str, path: &str) -> Option<Self> {
        let index = self
            .document
            .operations()
            .iter()
            .position(|operation| operation.path == path && operation.method == method)?;
        Some(Self { index, ..self.clone() })
    }

    /// The operation that creates what this one lists: `POST` at the same path.
    pub(super) fn maker(&self) -> Option<Self> {
        self.at("POST", &self.operation().path)
            .filter(|maker| maker.declares(201) && maker.operation().secured)
    }

    /// The operation that reads what this one changes: `GET` at the same or the nearest parent
    /// path; otherwise the one that reads the user.
    fn reader(&self) -> Option<Self> {
        let readers = self
            .document
            .operations()
            .iter()
            .enumerate()
            .filter(|(_, operation)| operation.method == "GET" && operation.secured);
        let before = |path: &str| {
            self.operation().path == path
                || self
                    .operation()
                    .path
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        let nearest = readers
            .clone()
            .filter(|(_, operation)| before(&operation.path))
            .max_by_key(|(_, operation)| operation.path.len());
        let of_the_user = |operation: &Operation| operation.path.ends_with("{user_id}");
        let (index, _) =
            nearest.or_else(|| readers.clone().find(|(_, operation)| of_the_user(operation)))?;
        Some(Self { index, ..self.clone() })
    }

    /// The state that this operation would change; `None` if the document cannot read it.
    pub(super) async fn snapshot(
        &self,
        context: &Context,
        user: &User,
    ) -> Result<Option<Answer>, Failure> {
        let Some(reader) = self.reader() else { return Ok(None) };
        reader
            .valid(context, RequestPlan::without_effect(user), Extent::Required)
            .await?
            .call(context)
            .expect(200)
            .await
            .map(Some)
    }

    pub(super) async fn unchanged(
        &self,
        context: &Context,
        user: &User,
        before: Option<&Answer>,
        case: &str,
    ) -> Result<(), Failure> {
        let (Some(reader), Some(before)) = (self.reader(), before) else { return Ok(()) };
        let after = reader
            .valid(context, RequestPlan::without_effect(user), Extent::Required)
            .await?
            .call(context)
            .send()
            .await?;
        if after.status == before.status && after.json() == before.json() {
            return Ok(());
        }
        let message = format!(
            "{case}: the request was refused, but {} changed: expected equal responses",
            reader.id()
        );
        Err(before.fail(message).and(after.exchange()))
    }
}

pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
