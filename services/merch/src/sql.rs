//! `merch sql`: statements against the SQLite file of a store, also while it runs.

mod show;
mod statements;
mod tally;

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
    statements::{complete, first_word, statements},
    tally::Tally,
};
use crate::{
    failure::Failure,
    settings::operator::Sql,
    sqlite::{self, Access},
};

const TABLES: &str =
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
const SCHEMA: &str =
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name";

/// Runs what the command line or standard input says. At a terminal an error is told and the next
/// statement asked for.
///
/// With `--write` every statement is run to its end, whether or not its rows can be printed: a full
/// disk at standard output must not decide how much of a change is made.
///
/// # Errors
/// When the database is not SQLite's or cannot be opened, or a statement fails. With `--write` the
/// error says how many before it were carried out, and how many rolled back.
pub(crate) async fn run(settings: &Sql) -> Result<ExitCode, Failure> {
    let file =
        sqlite::file(&settings.database, &settings.data, "use psql (`make psql` starts it)")?;
    let access = if settings.write { Access::Write } else { Access::Read };
    let connection = sqlite::open(&file, access).await?;
    let mut shell = Shell {
        connection,
        json: settings.json,
        write: settings.write,
        in_transaction: false,
        output: Ok(()),
    };
    match &settings.statement {
        Some(text) => shell.run_all(text).await?,
        None if io::stdin().is_terminal() => shell.ask().await?,
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

struct Shell {
    connection: SqliteConnection,
    json: bool,
    write: bool,
    /// Whether a statement has begun a transaction that is open.
    in_transaction: bool,
    /// The first failure of standard output; nothing is printed after it.
    output: Result<(), OutputError>,
}

impl Shell {
    /// Line by line until the end of the input or `.quit`. Reading a line holds up this thread,
    /// which has nothing else to do.
    async fn ask(&mut self) -> Result<(), StartError> {
        let mode = if self.write { "It may write" } else { "Read-only; --write changes that" };
        eprint_line(format_args!(
            "{mode}. A statement ends with a semicolon; .tables, .schema and .quit have none."
        ));
        let mut text = String::new();
        loop {
            prompt(if text.is_empty() { "merch> " } else { "  ...> " });
            let read = io::stdin().lock().read_line(&mut text);
            if read
                .map_err(|error| StartError::new(format!("the terminal cannot be read: {error}")))?
                == 0
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
            if let Err((error, tally)) = done {
                eprint_line(format_args!("error: {error}{tally}"));
            }
            if self.output.is_err() {
                return Ok(());
            }
        }
    }

    /// Runs the statements of `text`, after which the connection is closed: what a transaction
    /// holds then is rolled back.
    async fn run_all(&mut self, text: &str) -> Result<(), StartError> {
        self.run(text).await.map_err(|(error, mut tally)| {
            tally.roll_back();
            StartError::new(format!("{error}{tally}"))
        })
    }

    /// Runs the statements of `text`. An error comes with what became of those before it.
    async fn run(&mut self, text: &str) -> Result<(), (String, Tally)> {
        let mut tally = Tally::default();
        for statement in statements(text) {
            if self.output.is_err() && !self.write {
                break;
            }
            let outcome = self.one(statement).await;
            // What only reads leaves nothing to tell of.
            if self.write {
                self.count(statement, outcome.is_ok(), &mut tally).await;
            }
            if let Err(error) = outcome {
                return Err((sentence(&error), tally));
            }
        }
        Ok(())
    }

    async fn count(&mut self, statement: &str, succeeded: bool, tally: &mut Tally) {
        let word = first_word(statement).to_ascii_uppercase();
        let moves = matches!(
            word.as_str(),
            "BEGIN" | "COMMIT" | "END" | "RELEASE" | "ROLLBACK" | "SAVEPOINT"
        );
        // A failure may end a transaction, too: `INSERT OR ROLLBACK`.
        if moves || (self.in_transaction && !succeeded) {
            self.in_transaction = self.is_in_transaction().await;
        }
        if succeeded {
            tally.add();
        }
        match (self.in_transaction, succeeded && word != "ROLLBACK") {
            (true, _) => {}
            (false, true) => tally.commit(),
            (false, false) => tally.roll_back(),
        }
    }

    /// Asks SQLite, which begins no transaction within another one.
    async fn is_in_transaction(&mut self) -> bool {
        match sqlx::raw_sql("BEGIN").execute(&mut self.connection).await {
            Ok(_) => sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await.is_err(),
            Err(_) => true,
        }
    }

    async fn one(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        let before = self.changes().await?;
        let mut rows = Vec::new();
        let (mut found, json) = (0_u64, self.json);
        // Rows as JSON need not wait for one another; a table has to know the widest.
        let mut stream =
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).fetch(&mut self.connection);
        while let Some(row) = stream.try_next().await? {
            found += 1;
            if json {
                if self.output.is_ok() {
                    self.output = print(show::json(&row)?);
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
            self.print(show::table(rows)?);
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

    /// Rows that this connection has changed so far.
    async fn changes(&mut self) -> Result<i64, sqlx::Error> {
        sqlx::raw_sql("SELECT total_changes()").fetch_one(&mut self.connection).await?.try_get(0)
    }
}

fn sentence(error: &sqlx::Error) -> String {
    const READONLY: &str = "8";
    match error {
        sqlx::Error::Database(error) if error.code().as_deref() == Some(READONLY) => {
            "the statement writes, and the file is opened for reading alone; --write lets it"
                .to_owned()
        }
        sqlx::Error::Database(error) => {
            format!("SQLite refuses the statement: {}", error.message())
        }
        sqlx::Error::Decode(error) => {
            format!("the statement was run, but a value of its answer cannot be shown: {error}")
        }
        error => format!("the statement failed: {error}"),
    }
}
