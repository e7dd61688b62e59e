//! Reads the live schema of a migrated database: columns and check constraints.

use std::collections::{BTreeMap, BTreeSet};

use merch_test_store::BareDatabase;

use crate::field_facts::{FieldFacts, ValueType};

#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    /// By table and column.
    pub(crate) columns: BTreeMap<String, BTreeMap<String, FieldFacts>>,
    /// Check constraints of several columns, by name.
    pub(crate) others: BTreeSet<String>,
    /// Tables that accept other types.
    pub(crate) faults: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Clause {
    Least(i64),
    Most(i64),
    Values(BTreeSet<String>),
}

pub(crate) async fn postgres(database: &BareDatabase) -> Schema {
    let mut schema = Schema::default();
    let columns = "SELECT table_name::text, column_name::text, data_type::text, is_nullable::text FROM information_schema.columns
                   WHERE table_schema = current_schema() AND table_name <> 'seaql_migrations'";
    for row in database.texts(columns, 4).await {
        let [table, column, native, nullable] =
            row.try_into().expect("four columns were asked for");
        let kinds: &[ValueType] = match native.as_str() {
            "uuid" => &[ValueType::Uuid],
            "integer" => &[ValueType::Int32],
            "bigint" => &[ValueType::Int64],
            "boolean" => &[ValueType::Bool],
            "text" => &[ValueType::Text, ValueType::Choice],
            "timestamp with time zone" => &[ValueType::Time],
            "bytea" => &[ValueType::Bytes],
            _ => &[ValueType::Other],
        };
        schema.column(table, column, FieldFacts::new(native, kinds), nullable == "YES");
    }
    let checks = "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)::text FROM pg_constraint
                  WHERE contype = 'c' AND connamespace = current_schema()::regnamespace";
    for row in database.texts(checks, 3).await {
        let [table, name, check] = row.try_into().expect("three columns were asked for");
        schema.check(&table, &name, &check);
    }
    schema
}

pub(crate) async fn sqlite(database: &BareDatabase) -> Schema {
    let mut schema = Schema::default();
    let tables = "SELECT m.name, m.sql, CAST(l.strict AS TEXT) FROM sqlite_master AS m JOIN pragma_table_list AS l ON l.name = m.name
                  WHERE m.type = 'table' AND m.name <> 'seaql_migrations' AND m.name NOT LIKE 'sqlite_%'";
    for row in database.texts(tables, 3).await {
        let [table, sql, strict] = row.try_into().expect("three columns were asked for");
        if strict != "1" {
            schema.faults.push(format!(
                "table {table}: SQLite accepts any type, because the table is not STRICT"
            ));
        }
        let columns = format!(
            "SELECT name, type, CAST(\"notnull\" AS TEXT) FROM pragma_table_info('{table}')"
        );
        for row in database.texts(&columns, 3).await {
            let [column, native, not_null] = row.try_into().expect("three columns were asked for");
            let kinds: &[ValueType] = match native.to_ascii_uppercase().as_str() {
                "BLOB" => &[ValueType::Uuid, ValueType::Bytes],
                "INTEGER" => &[ValueType::Int32, ValueType::Int64, ValueType::Bool],
                "TEXT" => &[ValueType::Text, ValueType::Choice, ValueType::Time],
                _ => &[ValueType::Other],
            };
            schema.column(
                table.clone(),
                column,
                FieldFacts::new(native.to_ascii_uppercase(), kinds),
                not_null == "0",
            );
        }
        for (name, check) in constraints(&sql) {
            schema.check(&table, name, check);
        }
    }
    schema
}

impl Schema {
    fn column(&mut self, table: String, column: String, mut facts: FieldFacts, nullable: bool) {
        facts.nullable = Some(nullable);
        self.columns.entry(table).or_default().insert(column, facts);
    }

    fn check(&mut self, table: &str, name: &str, check: &str) {
        let Some(clauses) = clauses(check) else {
            self.others.insert(name.to_owned());
            return;
        };
        for (column, is_length, clause) in clauses {
            let facts = self.columns.get_mut(table).and_then(|columns| columns.get_mut(&column));
            let facts = facts.unwrap_or_else(|| {
                panic!("{name} refers to {table}.{column}, which is not a column")
            });
            match clause {
                Clause::Least(least) if is_length => facts.length(Some(least), None),
                Clause::Most(most) if is_length => facts.length(None, Some(most)),
                Clause::Least(least) => facts.minimum = facts.minimum.max(Some(least)),
                Clause::Most(most) => {
                    facts.maximum = Some(facts.maximum.map_or(most, |own| own.min(most)))
                }
                // SQLite declares a boolean with `IN (TRUE, FALSE)`.
                Clause::Values(values)
                    if values.iter().all(|value| value == "true" || value == "false") =>
                {
                    facts.kinds.retain(|kind| *kind == ValueType::Bool)
                }
                Clause::Values(values) => {
                    facts.kinds.retain(|kind| *kind == ValueType::Choice);
                    facts.values = Some(values);
                }
            }
        }
    }
}

fn constraints(sql: &str) -> impl Iterator<Item = (&str, &str)> {
    sql.split("CONSTRAINT ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(char::is_whitespace)?;
        let rest = rest.trim_start().strip_prefix("CHECK")?.trim_start();
        let mut depth = 0;
        let end = rest.char_indices().find_map(|(at, character)| {
            depth += match character {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            (depth == 0).then_some(at + 1)
        })?;
        Some((name, &rest[..end]))
    })
}

/// A check by column, with whether it limits the length; `None` if it is not just bounds and
/// values.
fn clauses(check: &str) -> Option<Vec<(String, bool, Clause)>> {
    let tokens = tokens(check);
    let words: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let mut clauses = Vec::new();
    let mut rest = words.as_slice();
    loop {
        let (column, is_length);
        (column, is_length, rest) = match rest {
            ["length", column, rest @ ..] => ((*column).to_owned(), true, rest),
            [column, rest @ ..] => ((*column).to_owned(), false, rest),
            [] => return None,
        };
        let mut add = |clause| clauses.push((column.clone(), is_length, clause));
        rest = match rest {
            ["between", low, "and", high, rest @ ..] => {
                add(Clause::Least(low.parse().ok()?));
                add(Clause::Most(high.parse().ok()?));
                rest
            }
            [">=", number, rest @ ..] => {
                add(Clause::Least(number.parse().ok()?));
                rest
            }
            ["<=", number, rest @ ..] => {
                add(Clause::Most(number.parse().ok()?));
                rest
            }
            // PostgreSQL stores `IN` as `= ANY (ARRAY …)`.
            ["=", "any", "array", rest @ ..] | ["in", rest @ ..] => {
                let end = rest.iter().position(|word| *word == "and").unwrap_or(rest.len());
                add(Clause::Values(
                    rest[..end].iter().map(|value| value.trim_matches('\'').to_owned()).collect(),
                ));
                &rest[end..]
            }
            ["=", number, rest @ ..] => {
                add(Clause::Least(number.parse().ok()?));
                add(Clause::Most(number.parse().ok()?));
                rest
            }
            _ => return None,
        };
        match rest {
            [] => return Some(clauses),
            ["and", after @ ..] => rest = after,
            _ => return None,
        }
    }
}

/// Tokens in lower case, without casts, commas and brackets: the supported checks need none.
fn tokens(check: &str) -> Vec<String> {
    let check = check.trim().strip_prefix("CHECK").unwrap_or(check).replace("::text", "");
    let spaced: String = check.chars().map(|c| if "(),[]".contains(c) { ' ' } else { c }).collect();
    spaced.split_whitespace().map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(check: &str) -> Option<Vec<(String, bool, Clause)>> {
        clauses(check)
    }

    #[test]
    fn both_check_syntaxes_are_parsed() {
        for (sqlite, postgres) in [
            (
                "(length(sid) BETWEEN 1 AND 15)",
                "CHECK (((length(sid) >= 1) AND (length(sid) <= 15)))",
            ),
            ("(length(currency) = 3)", "CHECK ((length(currency) = 3))"),
            (
                "(status IN ('placed', 'cancelled'))",
                "CHECK ((status = ANY (ARRAY['placed'::text, 'cancelled'::text])))",
            ),
            ("(is_active IN (TRUE, FALSE))", "CHECK ((is_active = ANY (ARRAY[true, false])))"),
            ("(stock >= 0)", "CHECK ((stock >= 0))"),
        ] {
            assert!(read(sqlite).is_some(), "{sqlite}");
            assert_eq!(read(sqlite), read(postgres));
        }
    }

    #[test]
    fn multi_column_checks_are_ignored() {
        for check in [
            "(total_price_cents = unit_price_cents * quantity)",
            "((status = 'cancelled') = (cancelled_at IS NOT NULL))",
            "(set_aside IS NULL OR shipped_at IS NULL)",
            "(stock >= 0 OR stock = -7)",
        ] {
            assert_eq!(read(check), None, "{check}");
        }
    }
}
