//! An operation as it is aimed at: what the document says of it, and good requests to it.

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

/// An operation of a document.
#[derive(Clone)]
pub(super) struct Target {
    document: Arc<Document>,
    index: usize,
    things: Arc<Things>,
}

/// Ids of things that were made or found for a user, so that not each case makes its own: by the
/// name of the path parameter and the user.
type Things = Mutex<HashMap<(String, String), Arc<OnceCell<Value>>>>;

/// Whose request it is, and how much of him goes into it.
#[derive(Clone, Copy, Debug)]
pub(super) struct As<'u> {
    pub(super) user: &'u User,
    /// Whether his username and password stand where the document asks for credentials; else those
    /// of nobody do.
    pub(super) proves_himself: bool,
    /// Whether the things of the request are made for it, as it will change them.
    pub(super) own_things: bool,
}

impl<'u> As<'u> {
    /// A request that is not to change anything.
    pub(super) fn harmless(user: &'u User) -> Self {
        Self { user, proves_himself: false, own_things: false }
    }

    /// A request that is to succeed.
    pub(super) fn in_earnest(user: &'u User) -> Self {
        Self { user, proves_himself: true, own_things: true }
    }
}

impl Target {
    /// One for each operation of the document.
    pub(super) fn all(document: &Arc<Document>) -> Vec<Self> {
        let things = Arc::default();
        (0..document.operations().len())
            .map(|index| Self {
                document: Arc::clone(document),
                index,
                things: Arc::clone(&things),
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

    /// A case of this operation.
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

    /// The status of success.
    pub(super) fn success(&self) -> u16 {
        self.operation()
            .responses
            .keys()
            .copied()
            .find(|status| (200..300).contains(status))
            .unwrap_or(200)
    }

    /// The schema of the body that comes with success.
    pub(super) fn success_schema(&self) -> Option<&Value> {
        let content = &self.operation().responses.get(&self.success())?.content;
        Some(self.document.resolve(&content.get("application/json")?.schema))
    }

    /// Whether it only reads (RFC 9110 §9.2.1).
    pub(super) fn is_safe(&self) -> bool {
        self.operation().method.is_safe()
    }

    pub(super) fn parameters(&self, location: Location) -> impl Iterator<Item = &Parameter> {
        self.operation().parameters.iter().filter(move |parameter| parameter.location == location)
    }

    /// The header parameter of this name.
    pub(super) fn header(&self, name: &str) -> Option<&Parameter> {
        self.parameters(Location::Header)
            .find(|parameter| parameter.name.eq_ignore_ascii_case(name))
    }

    /// The schema of its body, with no reference.
    pub(super) fn body(&self) -> Option<&Value> {
        self.operation().request_body.as_ref().map(|body| self.document.resolve(&body.schema))
    }

    /// The members of its body.
    pub(super) fn members(&self) -> Vec<members::Member> {
        self.body().map(|body| members::of(&self.document, body)).unwrap_or_default()
    }

    /// Whether a password is part of its body: then each good request costs the server a hash of
    /// half a second.
    pub(super) fn takes_a_password(&self) -> bool {
        self.members().iter().any(|member| member.schema["format"] == "password")
    }

    /// Whether success gives a token: then a request proves who one is, and each that proves
    /// nothing is counted.
    pub(super) fn gives_a_token(&self) -> bool {
        self.success_schema().is_some_and(|schema| schema["properties"]["access_token"].is_object())
    }

    /// The name of the path parameter that an id is, if it is one of a thing that the store keeps.
    fn is_id(&self, name: &str) -> bool {
        self.document
            .operations()
            .iter()
            .any(|operation| operation.parameter(Location::Path, name).is_some())
    }

    /// A request of this user that the operation takes: what it needs and no more, with a body of
    /// this extent.
    pub(super) async fn good(
        &self,
        context: &Context,
        who: As<'_>,
        extent: Extent,
    ) -> Result<Request, Failure> {
        let operation = self.operation();
        let mut request = Request::to(operation);
        if operation.secured {
            request.authorize(&who.user.token);
        }
        for parameter in operation.parameters.iter().filter(|parameter| parameter.required) {
            let value = match self.known(context, who, &parameter.name).await? {
                Some(value) => value,
                None => {
                    parameter.example.clone().or_else(|| members::sample(&self.document, &parameter.schema, extent)).ok_or_else(|| {
                        Failure::new(format!("the document has no example of the parameter {}, and none could be made up", parameter.name))
                    })?
                }
            };
            request.set(parameter.location, &parameter.name, &plain(&value));
        }
        if let Some(schema) = self.body() {
            let mut body = members::sample(&self.document, schema, extent).ok_or_else(|| {
                Failure::new("the document has no example of the body, and none could be made up")
            })?;
            for member in self.members() {
                if body.pointer(&member.pointer).is_some()
                    && let Some(value) = self.known(context, who, &member.name).await?
                    && let Some(place) = body.pointer_mut(&member.pointer)
                {
                    *place = value;
                }
            }
            request.json(&body);
        }
        Ok(request)
    }

    /// The value of a parameter of the path in a good request.
    pub(super) async fn path_value(
        &self,
        context: &Context,
        who: As<'_>,
        name: &str,
    ) -> Result<Value, Failure> {
        self.known(context, who, name)
            .await?
            .ok_or_else(|| Failure::new(format!("nothing is known of what {name} is the id of")))
    }

    /// What no document can say: the ids of things that there are, and the secrets of a user.
    async fn known(
        &self,
        context: &Context,
        who: As<'_>,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        match name {
            "user_id" => Ok(Some(Value::from(who.user.id.as_str()))),
            "product_id" => Ok(Some(Value::from(context.product().await?.id))),
            "current_password" if who.proves_himself => {
                Ok(Some(Value::from(who.user.password.as_str())))
            }
            "username" if who.proves_himself && self.gives_a_token() => {
                Ok(Some(Value::from(who.user.username.as_str())))
            }
            "password" if who.proves_himself && self.gives_a_token() => {
                Ok(Some(Value::from(who.user.password.as_str())))
            }
            name if self.is_id(name) => self.thing(context, who, name).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The id of a thing of this user, made or found once unless it has to be this request's own.
    async fn thing(&self, context: &Context, who: As<'_>, name: &str) -> Result<Value, Failure> {
        if who.own_things {
            return self.new_thing(context, who, name).await;
        }
        let key = (name.to_owned(), who.user.id.clone());
        let thing = Arc::clone(
            self.things.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default(),
        );
        thing.get_or_try_init(|| self.new_thing(context, who, name)).await.cloned()
    }

    /// Made by the `POST` of the path before `/{name}`, or else the first that its `GET` lists.
    async fn new_thing(
        &self,
        context: &Context,
        who: As<'_>,
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
            let request =
                Box::pin(maker.good(context, As { own_things: false, ..who }, Extent::Least))
                    .await?;
            request.call(context).expect(201).await?.json()["id"].clone()
        } else if let Some(list) = at("GET") {
            let request =
                Box::pin(list.good(context, As { own_things: false, ..who }, Extent::Least))
                    .await?;
            request.call(context).expect(200).await?.json()["items"][0]["id"].clone()
        } else {
            return Err(Failure::new(format!(
                "the document has no operation that makes or lists what {name} is the id of"
            )));
        };
        if id.is_null() {
            Err(Failure::new(format!("there is nothing that {name} could be the id of")))
        } else {
            Ok(id)
        }
    }
}

impl Target {
    /// The operation of another method or path.
    fn at(&self, method: &str, path: &str) -> Option<Self> {
        let index = self
            .document
            .operations()
            .iter()
            .position(|operation| operation.path == path && operation.method == method)?;
        Some(Self { index, ..self.clone() })
    }

    /// The operation that makes what this one lists: `POST` at the same path, by the same user.
    pub(super) fn maker(&self) -> Option<Self> {
        self.at("POST", &self.operation().path)
            .filter(|maker| maker.declares(201) && maker.operation().secured)
    }

    /// The operation that reads what this one changes: `GET` at the same path or the nearest before
    /// it, with the same token; else the one that reads the user.
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

    /// What this operation would change, as it is now for this user; `None` if the document has no
    /// way to read it.
    pub(super) async fn snapshot(
        &self,
        context: &Context,
        user: &User,
    ) -> Result<Option<Answer>, Failure> {
        let Some(reader) = self.reader() else { return Ok(None) };
        reader
            .good(context, As::harmless(user), Extent::Least)
            .await?
            .call(context)
            .expect(200)
            .await
            .map(Some)
    }

    /// That nothing is other than it was.
    pub(super) async fn unchanged(
        &self,
        context: &Context,
        user: &User,
        before: Option<&Answer>,
        case: &str,
    ) -> Result<(), Failure> {
        let (Some(reader), Some(before)) = (self.reader(), before) else { return Ok(()) };
        let after = reader
            .good(context, As::harmless(user), Extent::Least)
            .await?
            .call(context)
            .send()
            .await?;
        if after.status == before.status && after.json() == before.json() {
            return Ok(());
        }
        let message = format!(
            "{case}: it was refused, but something has changed: expected {} as before it, see the two answers",
            reader.id()
        );
        Err(before.fail(message).and(&after))
    }
}

/// A value as it stands in a path, a query or a header.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
