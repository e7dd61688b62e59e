//! Compares the layers, field by field.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use contract_breaking::{CompiledProtos, Contracts};
use serde_json::Value;

use crate::{
    entities::{ENTITIES, EVENTS, Entity},
    field_facts::{FieldFacts, ValueType},
    openapi, proto,
    sql::Schema,
};

#[derive(Clone, Debug)]
pub(crate) struct Layers {
    document: Value,
    protos: CompiledProtos,
    pub(crate) sqlite: Schema,
    pub(crate) postgres: Schema,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Field {
    pub(crate) openapi: Option<FieldFacts>,
    pub(crate) proto: Option<FieldFacts>,
    pub(crate) postgres: Option<FieldFacts>,
    pub(crate) sqlite: Option<FieldFacts>,
}

#[derive(Clone, Debug)]
pub(crate) struct Disagreement {
    /// `Order.quantity`
    pub(crate) place: String,
    /// `maximum`, `missing in SQL`, …
    pub(crate) aspect: String,
    /// The value in each layer.
    pub(crate) what: String,
}

impl Layers {
    pub(crate) fn new(contracts: &Contracts, sqlite: Schema, postgres: Schema) -> Self {
        let mut layers =
            Self { document: Value::Null, protos: CompiledProtos::default(), sqlite, postgres };
        layers.read(contracts);
        layers
    }

    pub(crate) fn read(&mut self, contracts: &Contracts) {
        self.document = contracts.openapi.clone();
        self.protos = contracts.compile().unwrap_or_else(|error| panic!("{error}"));
    }

    pub(crate) fn fields(&self, shape: &Entity) -> BTreeMap<String, Field> {
        let mut fields: BTreeMap<String, Field> = BTreeMap::new();
        let mut openapi = BTreeMap::new();
        if let Some(schema) = shape.schema {
            openapi.extend(openapi::schema(&self.document, schema));
        }
        if let Some((path, method)) = shape.operation {
            openapi.extend(openapi::parameters(&self.document, path, method));
        }
        for (name, facts) in openapi {
            fields.entry(shape.field(&name)).or_default().openapi = Some(facts);
        }
        for (name, facts) in
            shape.message.map(|message| proto::message(&self.protos, message)).into_iter().flatten()
        {
            fields.entry(shape.field(&name)).or_default().proto = Some(facts);
        }
        for (schema, layer) in [
            (&self.postgres, Field::postgres_mut as fn(&mut Field) -> &mut Option<FieldFacts>),
            (&self.sqlite, Field::sqlite_mut),
        ] {
            for (name, facts) in
                shape.table.and_then(|table| schema.columns.get(table)).into_iter().flatten()
            {
                let name = shape.field(name);
                if shape.is_resource || fields.contains_key(&name) {
                    *layer(fields.entry(name).or_default()) = Some(facts.clone());
                }
            }
        }
        fields
    }
}

impl Field {
    fn postgres_mut(&mut self) -> &mut Option<FieldFacts> {
        &mut self.postgres
    }

    fn sqlite_mut(&mut self) -> &mut Option<FieldFacts> {
        &mut self.sqlite
    }

    fn layers(&self) -> Vec<(&'static str, &FieldFacts)> {
        let layers = [
            ("openapi.yaml", &self.openapi),
            ("proto/", &self.proto),
            ("PostgreSQL", &self.postgres),
            ("SQLite", &self.sqlite),
        ];
        layers.into_iter().filter_map(|(name, facts)| Some((name, facts.as_ref()?))).collect()
    }
}

pub(crate) fn disagreements(layers: &Layers) -> Vec<Disagreement> {
    let mut found = Vec::new();
    for shape in ENTITIES.iter().chain([&EVENTS]) {
        for (name, field) in layers.fields(shape) {
            let place = format!("{}.{name}", shape.name);
            missing(shape, &place, &field, &mut found);
            compare(shape, &place, &field, &mut found);
        }
    }
    schemas(layers, &mut found);
    found
}

fn missing(shape: &Entity, place: &str, field: &Field, found: &mut Vec<Disagreement>) {
    let layers = [
        (
            "openapi.yaml",
            shape.schema.is_some() || shape.operation.is_some(),
            field.openapi.is_none(),
        ),
        ("proto/", shape.message.is_some(), field.proto.is_none()),
        ("PostgreSQL", shape.is_resource, field.postgres.is_none()),
        ("SQLite", shape.is_resource, field.sqlite.is_none()),
    ];
    for (layer, _, _) in layers.into_iter().filter(|(_, expected, missing)| *expected && *missing) {
        let known: Vec<&str> = field.layers().into_iter().map(|(name, _)| name).collect();
        found.push(Disagreement {
            place: place.to_owned(),
            aspect: format!("missing in {layer}"),
            what: format!("present in {}", known.join(", ")),
        });
    }
}

fn compare(shape: &Entity, place: &str, field: &Field, found: &mut Vec<Disagreement>) {
    let layers = field.layers();
    let mut common = layers.first().map_or_else(Vec::new, |(_, facts)| facts.kinds.clone());
    common.retain(|kind| layers.iter().all(|(_, facts)| facts.kinds.contains(kind)));
    if layers.len() > 1 && (common.is_empty() || common == [ValueType::Other]) {
        let types: Vec<String> =
            layers.iter().map(|(name, facts)| format!("{name}: {}", facts.native)).collect();
        found.push(Disagreement {
            place: place.to_owned(),
            aspect: "type".to_owned(),
            what: types.join(", "),
        });
        return;
    }
    let mut same = |aspect: &str, said: Vec<(&str, String)>| {
        if said.iter().any(|(_, value)| *value != said[0].1) {
            let what: Vec<String> =
                said.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            found.push(Disagreement {
                place: place.to_owned(),
                aspect: aspect.to_owned(),
                what: what.join(", "),
            });
        }
    };
    let all = |value: &dyn Fn(&FieldFacts) -> String| {
        layers.iter().map(|(name, facts)| (*name, value(facts))).collect::<Vec<_>>()
    };
    same("minimum", all(&|facts| show(facts.minimum)));
    same("maximum", all(&|facts| show(facts.maximum)));
    same("values", all(&|facts| show(facts.values.as_ref())));
    if common.contains(&ValueType::Text) {
        same("shortest", all(&|facts| facts.shortest.unwrap_or(0).to_string()));
        same("longest", all(&|facts| show(facts.longest)));
    }
    // Aspects that only some layers have.
    let of = |names: &[&str], value: &dyn Fn(&FieldFacts) -> Option<String>| {
        layers
            .iter()
            .filter(|(name, _)| names.contains(name))
            .filter_map(|(name, facts)| Some((*name, value(facts)?)))
            .collect::<Vec<_>>()
    };
    let contracts = ["openapi.yaml", "proto/"];
    if common.contains(&ValueType::Text) {
        same("characters", of(&contracts, &|facts| Some(show(facts.characters.as_ref()))));
    }
    if field.openapi.is_some() && field.proto.as_ref().is_some_and(|facts| facts.optional.is_some())
    {
        same(
            "presence",
            of(&contracts, &|facts| {
                facts
                    .optional
                    .map(|optional| if optional { "may be absent" } else { "is there" }.to_owned())
            }),
        );
    }
    if shape.is_resource && shape.message.is_some() {
        same(
            "null",
            of(&["openapi.yaml", "proto/", "PostgreSQL", "SQLite"], &|facts| {
                facts.nullable.map(|nullable| nullable.to_string())
            }),
        );
    }
}

fn show(value: Option<impl Debug>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
}

/// Tables without an entity, and checks of several columns.
fn schemas(layers: &Layers, found: &mut Vec<Disagreement>) {
    let known: BTreeSet<&str> =
        ENTITIES.iter().chain([&EVENTS]).filter_map(|shape| shape.table).collect();
    for (database, schema) in [("PostgreSQL", &layers.postgres), ("SQLite", &layers.sqlite)] {
        for table in schema.columns.keys().filter(|table| !known.contains(table.as_str())) {
            let what = format!(
                "{database} has it, but contract-tests/tests/schema_agreement/entities.rs lacks it"
            );
            found.push(Disagreement {
                place: format!("table {table}"),
                aspect: "unknown".to_owned(),
                what,
            });
        }
        for check in &schema.others {
            let what = format!("{database} checks more than the bounds of one column");
            found.push(Disagreement {
                place: check.clone(),
                aspect: format!("check in {database}"),
                what,
            });
        }
        found.extend(schema.faults.iter().map(|fault| Disagreement {
            place: database.to_owned(),
            aspect: "strictness".to_owned(),
            what: fault.clone(),
        }));
    }
}
