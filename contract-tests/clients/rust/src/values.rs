//! Variables and arguments of a step.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

#[derive(Default)]
pub(crate) struct Variables(BTreeMap<String, Value>);

impl Variables {
    pub(crate) fn set(&mut self, name: &str, value: Value) -> Result<(), String> {
        match self.0.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(format!("the variable {name:?} is already set")),
        }
    }

    fn get(&self, name: &str) -> Result<&Value, String> {
        self.0.get(name).ok_or_else(|| format!("the variable {name:?} is not set"))
    }

    /// Substitutes variables and computes sums and products.
    pub(crate) fn fill(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => {
                match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                    Some(name) if !name.contains('}') => self.get(name)?.clone(),
                    Some(_) | None => self.put_in(text)?.into(),
                }
            }
            Value::Object(members) => match members.iter().next() {
                Some((key, operands))
                    if members.len() == 1 && (key == "$sum" || key == "$product") =>
                {
                    let operands = self.fill(operands)?;
                    let operands: Option<Vec<i64>> =
                        operands.as_array().and_then(|all| all.iter().map(Value::as_i64).collect());
                    let operands = operands.ok_or_else(|| format!("{key} takes integers"))?;
                    if key == "$sum" {
                        operands.iter().sum::<i64>()
                    } else {
                        operands.iter().product()
                    }
                    .into()
                }
                _ => {
                    let filled =
                        members.iter().map(|(key, value)| Ok((key.clone(), self.fill(value)?)));
                    Value::Object(filled.collect::<Result<_, String>>()?)
                }
            },
            Value::Array(items) => Value::Array(
                items.iter().map(|item| self.fill(item)).collect::<Result<_, String>>()?,
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    fn put_in(&self, text: &str) -> Result<String, String> {
        let mut parts = text.split("${");
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) =
                part.split_once('}').ok_or_else(|| format!("a variable has no end in {text:?}"))?;
            match self.get(name)? {
                Value::String(value) => filled.push_str(value),
                other => filled.push_str(&other.to_string()),
            }
            filled.push_str(rest);
        }
        Ok(filled)
    }
}

/// The arguments that no call has used, by place and name.
pub(crate) struct Arguments(BTreeMap<(&'static str, String), Value>);

impl Arguments {
    pub(crate) fn read(step: &Map<String, Value>, variables: &Variables) -> Result<Self, String> {
        let mut arguments = BTreeMap::new();
        for place in ["path", "query", "header", "body"] {
            for (name, value) in step.get(place).and_then(Value::as_object).into_iter().flatten() {
                arguments.insert((place, name.clone()), variables.fill(value)?);
            }
        }
        Ok(Self(arguments))
    }

    pub(crate) fn take(&mut self, place: &'static str, name: &str) -> Option<Value> {
        self.0.remove(&(place, name.to_owned()))
    }

    pub(crate) fn all_taken(&self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some((place, name)) => {
                Err(format!("the {place} argument {name:?} is not handed over to the client"))
            }
        }
    }
}
