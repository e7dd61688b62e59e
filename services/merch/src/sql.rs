//! `merch sql`: SQL on the SQLite file of a store, also while it runs.

mod format;
mod outcomes;
mod statements;

use std::{
    fmt::Display,
    io::{self, BufRead as _, IsTerminal as _},
    process::ExitCode,
};

use command_output::{OutputError, eprint_line, print, prompt};
use futures_util::TryStreamExt as _;
use merch_chassis::StartError;
use sea_orm::sqlx::{
    self, AssertSqlSafe, Row as _,
    sqlite::{SqliteConnection, SqliteRow},
};

use self::{
    outcomes::StatementOutcomes,
    statements::{complete, first_word, statements},
};
use crate::{
    command_error::CommandError,
    settings::operations::Sql,
    sqlite::{self, Access},
};

const TABLES: &str =
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
const SCHEMA: &str =
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name";

/// With `--write` every statement is run even if its rows cannot be printed, so that a full disk
/// leaves no change half made. An error then counts the earlier statements that were committed and
/// rolled back.
pub(crate) async fn run(settings: &Sql) -> Result<ExitCode, CommandError> {
    let file =
        sqlite::file(&settings.database, &settings.data, "use psql (`make psql` starts it)")?;
    let access = if settings.write { Access::Write } else { Access::Read };
    let connection = sqlite::open(&file, access).await?;
    let mut shell = SqlShell {
        connection,
        json: settings.json,
        write: settings.write,
        in_transaction: false,
        output: Ok(()),
    };
    match &settings.statement {
        Some(text) => shell.run_all(text).await?,
        None if io::stdin().is_terminal() => shell.repl().await?,
        None => {
            let text = io::read_to_string(io::stdin()).map_err(|error| {
                StartError::new(format!(
                    "standard input cannot be read: {error}; expected SQL in UTF-8"
                ))
            })?;
            shell.run_all(&text).await?;
        }
    }
    match shell.output {
        Err(error) if settings.write => Err(error.after("every statement was run").into()),
        output => Ok(output.map(|()| ExitCode::SUCCESS)?),
    }
}

struct SqlShell {
    connection: SqliteConnection,
    json: bool,
    write: bool,
    in_transaction: bool,
    /// Nothing is printed after the first error.
    output: Result<(), OutputError>,
}

impl SqlShell {
    /// Ends with the input or `.quit`. Blocks this thread, which has no other work.
    async fn repl(&mut self) -> Result<(), StartError> {
        let mode =
            if self.write { "Writes are allowed" } else { "Read-only; --write allows writes" };
        eprint_line(format_args!(
            "{mode}. End statements with a semicolon. Commands: .tables, .schema, .quit"
        ));
        let mut text = String::new();
        loop {
            prompt(if text.is_empty() { "merch> " } else { "  ...> " });
            let read = io::stdin().lock().read_line(&mut text);
            if read.map_err(|error| {
                StartError::new(format!("cannot read from the terminal: {error}"))
            })? == 0
            {
                return Ok(());
            }
            let done = match text.trim() {
                "" => Ok(()),
                ".quit" | ".exit" => return Ok(()),
                ".tables" => self.run(TABLES).await,
                ".schema" => self.run(SCHEMA).await,
                _ if !complete(&text) => continue,
                _ => self.run(&text).await,
            };
            text.clear();
            if let Err((error, outcomes)) = done {
                eprint_line(format_args!("error: {error}{outcomes}"));
            }
            if self.output.is_err() {
                return Ok(());
            }
        }
    }

    /// The caller closes the connection, which rolls back an open transaction.
    async fn run_all(&mut self, text: &str) -> Result<(), StartError> {
        self.run(text).await.map_err(|(error, mut outcomes)| {
            outcomes.roll_back();
            StartError::new(format!("{error}{outcomes}"))
        })
    }

    /// An error comes with the outcomes of the earlier statements.
    async fn run(&mut self, text: &str) -> Result<(), (String, StatementOutcomes)> {
        let mut outcomes = StatementOutcomes::default();
        for statement in statements(text) {
            if self.output.is_err() && !self.write {
                break;
            }
            let outcome = self.execute(statement).await;
            if self.write {
                self.count(statement, outcome.is_ok(), &mut outcomes).await;
            }
            if let Err(error) = outcome {
                return Err((error_message(&error), outcomes));
            }
        }
        Ok(())
    }

    async fn count(&mut self, statement: &str, succeeded: bool, outcomes: &mut StatementOutcomes) {
        let word = first_word(statement).to_ascii_uppercase();
        let moves = matches!(
            word.as_str(),
            "BEGIN" | "COMMIT" | "END" | "RELEASE" | "ROLLBACK" | "SAVEPOINT"
        );
        // A failure can end a transaction: `INSERT OR ROLLBACK`.
        if moves || (self.in_transaction && !succeeded) {
            self.in_transaction = self.is_in_transaction().await;
        }
        if succeeded {
            outcomes.add();
        }
        match (self.in_transaction, succeeded && word != "ROLLBACK") {
            (true, _) => {}
            (false, true) => outcomes.commit(),
            (false, false) => outcomes.roll_back(),
        }
    }

    /// SQLite refuses to begin a transaction within another one.
    async fn is_in_transaction(&mut self) -> bool {
        match sqlx::raw_sql("BEGIN").execute(&mut self.connection).await {
            Ok(_) => sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await.is_err(),
            Err(_) => true,
        }
    }

    async fn execute(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        let before = self.changes().await?;
        let mut rows = Vec::new();
        let (mut found, json) = (0_u64, self.json);
        // JSON rows are printed as they arrive; a table needs the column widths first.
        let mut stream =
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).fetch(&mut self.connection);
        while let Some(row) = stream.try_next().await? {
            found += 1;
            if json {
                if self.output.is_ok() {
                    self.output = print(format::json(&row)?);
                }
                if self.output.is_err() && !self.write {
                    break;
                }
            } else {
                rows.push(row);
            }
        }
        drop(stream);
        if !json {
            let changed = self.changes().await? - before;
            self.table(&rows, found, changed)?;
        }
        Ok(())
    }

    fn table(&mut self, rows: &[SqliteRow], found: u64, changed: i64) -> Result<(), sqlx::Error> {
        if !rows.is_empty() {
            self.print(format::table(rows)?);
        }
        let plural = |number: i64| if number == 1 { "row" } else { "rows" };
        if changed > 0 {
            self.print(format_args!("({changed} {} changed)", plural(changed)));
        } else {
            self.print(format_args!(
                "({found} {})",
                plural(i64::try_from(found).unwrap_or(i64::MAX))
            ));
        }
        Ok(())
    }

    fn print(&mut self, text: impl Display) {
        if self.output.is_ok() {
            self.output = print(text);
        }
    }

    async fn changes(&mut self) -> Result<i64, sqlx::Error> {
        sqlx::raw_sql("SELECT total_changes()").fetch_one(&mut self.connection).await?.try_get(0)
    }
}

fn error_message(error: &sqlx::Error) -> String {
    const READONLY: &str = "8";
    match error {
        sqlx::Error::Database(error) if error.code().as_deref() == Some(READONLY) => {
            "the statement writes, but the file is opened read-only; use --write".to_owned()
        }
        sqlx::Error::Database(error) => {
            format!("SQLite refused the statement: {}", error.message())
        }
        sqlx::Error::Decode(error) => {
            format!("the statement was run, but a value of its result cannot be decoded: {error}")
        }
        error => format!("the statement failed: {error}"),
    }
}
