// @generated from openapi.yaml by progenitor through build.rs. Do not edit: change openapi.yaml and run `make gen`.
use crate::rest::client_for_cli::*;
use anyhow::Context as _;
pub struct Cli<T: CliConfig> {
    client: Client,
    config: T,
}
impl<T: CliConfig> Cli<T> {
    pub fn new(client: Client, config: T) -> Self {
        Self { client, config }
    }
    pub fn get_command(cmd: CliCommand) -> ::clap::Command {
        match cmd {
            CliCommand::Greet => Self::cli_greet(),
            CliCommand::Register => Self::cli_register(),
            CliCommand::LogIn => Self::cli_log_in(),
            CliCommand::LogOut => Self::cli_log_out(),
            CliCommand::GetUser => Self::cli_get_user(),
            CliCommand::DeactivateUser => Self::cli_deactivate_user(),
            CliCommand::UpdateUser => Self::cli_update_user(),
            CliCommand::ChangePassword => Self::cli_change_password(),
            CliCommand::ListProducts => Self::cli_list_products(),
            CliCommand::GetProduct => Self::cli_get_product(),
            CliCommand::ListOrders => Self::cli_list_orders(),
            CliCommand::PlaceOrder => Self::cli_place_order(),
            CliCommand::GetOrder => Self::cli_get_order(),
            CliCommand::CancelOrder => Self::cli_cancel_order(),
        }
    }
    pub fn cli_greet() -> ::clap::Command {
        ::clap::Command::new("")
            .about(
                "Get store information\n\nReturns a greeting with the store's name, the version of the API, and links to its documentation.",
            )
    }
    pub fn cli_register() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("email")
                    .long("email")
                    .value_parser(::clap::value_parser!(types::Email))
                    .required_unless_present("json-body"),
            )
            .arg(
                ::clap::Arg::new("password")
                    .long("password")
                    .value_parser(::clap::value_parser!(types::RegistrationPassword))
                    .required_unless_present("json-body")
                    .help(
                        "The password: 8 to 128 characters, without U+0000. The most common passwords are rejected.",
                    ),
            )
            .arg(
                ::clap::Arg::new("sid")
                    .long("sid")
                    .value_parser(::clap::value_parser!(types::Sid))
                    .required_unless_present("json-body"),
            )
            .arg(
                ::clap::Arg::new("username")
                    .long("username")
                    .value_parser(::clap::value_parser!(types::Username))
                    .required_unless_present("json-body"),
            )
            .arg(
                ::clap::Arg::new("json-body")
                    .long("json-body")
                    .value_name("JSON-FILE")
                    .required(false)
                    .value_parser(::clap::value_parser!(std::path::PathBuf))
                    .help("Path to a file that contains the full json body."),
            )
            .arg(
                ::clap::Arg::new("json-body-template")
                    .long("json-body-template")
                    .action(::clap::ArgAction::SetTrue)
                    .help("XXX"),
            )
            .about(
                "Register\n\nCreates a user. If another user has the same `sid`, `username` or `email`, ignoring case, the request fails with 409. The values of deactivated users stay taken.\n\nThe server rejects the most common passwords, and the user's own sid, username or email as a password. It limits registrations for each client address.\n\nThe response contains no token. To get one, call `POST /login`.",
            )
    }
    pub fn cli_log_in() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("password")
                    .long("password")
                    .value_parser(::clap::value_parser!(types::CredentialsPassword))
                    .required_unless_present("json-body")
                    .help(
                        "The password. Every wrong password returns the same response, even one that registration rejects.",
                    ),
            )
            .arg(
                ::clap::Arg::new("username")
                    .long("username")
                    .value_parser(::clap::value_parser!(types::Username))
                    .required_unless_present("json-body"),
            )
            .arg(
                ::clap::Arg::new("json-body")
                    .long("json-body")
                    .value_name("JSON-FILE")
                    .required(false)
                    .value_parser(::clap::value_parser!(std::path::PathBuf))
                    .help("Path to a file that contains the full json body."),
            )
            .arg(
                ::clap::Arg::new("json-body-template")
                    .long("json-body-template")
                    .action(::clap::ArgAction::SetTrue)
                    .help("XXX"),
            )
            .about(
                "Log in\n\nVerifies a username and password, and returns a token. The response to an unknown username, a deactivated user and a wrong password is the same, after the same time.\n\nThe server limits wrong passwords for each account at each client address. It also limits them for each account over all addresses from which the account has not logged in during the last 30 days. Log-ins are limited for each client address.",
            )
    }
    pub fn cli_log_out() -> ::clap::Command {
        ::clap::Command::new("")
            .about(
                "Log out\n\nRevokes every token of the user, on every device. Requests that start later fail with 401.",
            )
    }
    pub fn cli_get_user() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("if-none-match")
                    .long("if-none-match")
                    .value_parser(::clap::value_parser!(::std::string::String))
                    .required(false)
                    .help(
                        "Entity tags of the client's stored responses, or `*`. If one matches the current version, the server returns 304.",
                    ),
            )
            .arg(
                ::clap::Arg::new("user-id")
                    .long("user-id")
                    .value_parser(::clap::value_parser!(types::UserId))
                    .required(true)
                    .help("The user's id."),
            )
            .about("Get a user\n\nReturns the caller's user. Any other id returns 404.")
    }
    pub fn cli_deactivate_user() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("user-id")
                    .long("user-id")
                    .value_parser(::clap::value_parser!(types::UserId))
                    .required(true)
                    .help("The user's id."),
            )
            .about(
                "Deactivate a user\n\nDeactivates the caller's account permanently. All tokens are revoked, and a later log-in fails like that of an unknown user. The user's orders are kept.",
            )
    }
    pub fn cli_update_user() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("email")
                    .long("email")
                    .value_parser(::clap::value_parser!(types::Email))
                    .required(false),
            )
            .arg(
                ::clap::Arg::new("if-match")
                    .long("if-match")
                    .value_parser(::clap::value_parser!(::std::string::String))
                    .required(false)
                    .help(
                        "Entity tags, or `*`. If none matches the current version, the server changes nothing and returns 412.",
                    ),
            )
            .arg(
                ::clap::Arg::new("user-id")
                    .long("user-id")
                    .value_parser(::clap::value_parser!(types::UserId))
                    .required(true)
                    .help("The user's id."),
            )
            .arg(
                ::clap::Arg::new("username")
                    .long("username")
                    .value_parser(::clap::value_parser!(types::Username))
                    .required(false),
            )
            .arg(
                ::clap::Arg::new("json-body")
                    .long("json-body")
                    .value_name("JSON-FILE")
                    .required(false)
                    .value_parser(::clap::value_parser!(std::path::PathBuf))
                    .help("Path to a file that contains the full json body."),
            )
            .arg(
                ::clap::Arg::new("json-body-template")
                    .long("json-body-template")
                    .action(::clap::ArgAction::SetTrue)
                    .help("XXX"),
            )
            .about(
                "Update a user\n\nUpdates the members that are present in the body, and no others. With `If-Match`, the server updates the user only if one of the entity tags matches the current version. Without it, the server updates any version.",
            )
    }
    pub fn cli_change_password() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("current-password")
                    .long("current-password")
                    .value_parser(
                        ::clap::value_parser!(types::PasswordChangeCurrentPassword),
                    )
                    .required_unless_present("json-body")
                    .help("The current password."),
            )
            .arg(
                ::clap::Arg::new("new-password")
                    .long("new-password")
                    .value_parser(
                        ::clap::value_parser!(types::PasswordChangeNewPassword),
                    )
                    .required_unless_present("json-body")
                    .help(
                        "The new password: 8 to 128 characters, without U+0000. The most common passwords are rejected.",
                    ),
            )
            .arg(
                ::clap::Arg::new("user-id")
                    .long("user-id")
                    .value_parser(::clap::value_parser!(types::UserId))
                    .required(true)
                    .help("The user's id."),
            )
            .arg(
                ::clap::Arg::new("json-body")
                    .long("json-body")
                    .value_name("JSON-FILE")
                    .required(false)
                    .value_parser(::clap::value_parser!(std::path::PathBuf))
                    .help("Path to a file that contains the full json body."),
            )
            .arg(
                ::clap::Arg::new("json-body-template")
                    .long("json-body-template")
                    .action(::clap::ArgAction::SetTrue)
                    .help("XXX"),
            )
            .about(
                "Change the password\n\nReplaces the caller's password and revokes all of the caller's tokens, including the token of this request.\n\nThe server rejects the most common passwords, and the user's own sid, username or email as a password. A wrong current password counts as a wrong password at `POST /login`.",
            )
    }
    pub fn cli_list_products() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("category")
                    .long("category")
                    .value_parser(::clap::value_parser!(types::Category))
                    .required(false)
                    .help(
                        "Returns only products of exactly this category. With a `page_token`, omit it or repeat the category of the token.",
                    ),
            )
            .arg(
                ::clap::Arg::new("limit")
                    .long("limit")
                    .value_parser(::clap::value_parser!(::std::num::NonZeroU32))
                    .required(false)
                    .help("The maximum number of items in a page."),
            )
            .about(
                "List products\n\nLists the products in ascending order of id, one page per request. For the next page, send `page_token` and optionally `limit`. The token contains the filter.",
            )
    }
    pub fn cli_get_product() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("if-none-match")
                    .long("if-none-match")
                    .value_parser(::clap::value_parser!(::std::string::String))
                    .required(false)
                    .help(
                        "Entity tags of the client's stored responses, or `*`. If one matches the current version, the server returns 304.",
                    ),
            )
            .arg(
                ::clap::Arg::new("product-id")
                    .long("product-id")
                    .value_parser(::clap::value_parser!(types::ProductId))
                    .required(true)
                    .help("The product's id."),
            )
            .about("Get a product\n\nReturns a product with its current stock.")
    }
    pub fn cli_list_orders() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("limit")
                    .long("limit")
                    .value_parser(::clap::value_parser!(::std::num::NonZeroU32))
                    .required(false)
                    .help("The maximum number of items in a page."),
            )
            .arg(
                ::clap::Arg::new("status")
                    .long("status")
                    .value_parser(
                        ::clap::builder::TypedValueParser::map(
                            ::clap::builder::PossibleValuesParser::new([
                                types::OrderStatus::Placed.to_string(),
                                types::OrderStatus::Cancelled.to_string(),
                            ]),
                            |s| types::OrderStatus::try_from(s).unwrap(),
                        ),
                    )
                    .required(false)
                    .help(
                        "Returns only orders with this status. With a `page_token`, omit it or repeat the status of the token.",
                    ),
            )
            .about(
                "List orders\n\nLists the caller's orders, newest first, one page per request. For the next page, send `page_token` and optionally `limit`. The token contains the filter.",
            )
    }
    pub fn cli_place_order() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("idempotency-key")
                    .long("idempotency-key")
                    .value_parser(::clap::value_parser!(types::PlaceOrderIdempotencyKey))
                    .required(false)
                    .help(
                        "A key that the client generates for each order, such as a UUID. Each user has a separate key space.",
                    ),
            )
            .arg(
                ::clap::Arg::new("product-id")
                    .long("product-id")
                    .value_parser(::clap::value_parser!(types::ProductId))
                    .required_unless_present("json-body"),
            )
            .arg(
                ::clap::Arg::new("quantity")
                    .long("quantity")
                    .value_parser(::clap::value_parser!(::std::num::NonZeroU32))
                    .required_unless_present("json-body")
                    .help("The number of pieces."),
            )
            .arg(
                ::clap::Arg::new("json-body")
                    .long("json-body")
                    .value_name("JSON-FILE")
                    .required(false)
                    .value_parser(::clap::value_parser!(std::path::PathBuf))
                    .help("Path to a file that contains the full json body."),
            )
            .arg(
                ::clap::Arg::new("json-body-template")
                    .long("json-body-template")
                    .action(::clap::ArgAction::SetTrue)
                    .help("XXX"),
            )
            .about(
                "Place an order\n\nBuys one to three pieces of a product at the current price. The order is placed in full or not at all. The server responds after the order is stored on disk.\n\nA request with an `Idempotency-Key` is safe to retry. For at least 24 hours, the same key and body return the first order, with the same status, headers and body. A rejected order does not use up its key.",
            )
    }
    pub fn cli_get_order() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("if-none-match")
                    .long("if-none-match")
                    .value_parser(::clap::value_parser!(::std::string::String))
                    .required(false)
                    .help(
                        "Entity tags of the client's stored responses, or `*`. If one matches the current version, the server returns 304.",
                    ),
            )
            .arg(
                ::clap::Arg::new("order-id")
                    .long("order-id")
                    .value_parser(::clap::value_parser!(types::OrderId))
                    .required(true)
                    .help("The order's id."),
            )
            .about(
                "Get an order\n\nReturns one of the caller's orders. Any other id returns 404.",
            )
    }
    pub fn cli_cancel_order() -> ::clap::Command {
        ::clap::Command::new("")
            .arg(
                ::clap::Arg::new("order-id")
                    .long("order-id")
                    .value_parser(::clap::value_parser!(types::OrderId))
                    .required(true)
                    .help("The order's id."),
            )
            .about(
                "Cancel an order\n\nCancels one of the caller's orders and returns its pieces to the stock exactly once. A repeated cancellation changes nothing and returns the same order.",
            )
    }
    pub async fn execute(
        &self,
        cmd: CliCommand,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        match cmd {
            CliCommand::Greet => self.execute_greet(matches).await,
            CliCommand::Register => self.execute_register(matches).await,
            CliCommand::LogIn => self.execute_log_in(matches).await,
            CliCommand::LogOut => self.execute_log_out(matches).await,
            CliCommand::GetUser => self.execute_get_user(matches).await,
            CliCommand::DeactivateUser => self.execute_deactivate_user(matches).await,
            CliCommand::UpdateUser => self.execute_update_user(matches).await,
            CliCommand::ChangePassword => self.execute_change_password(matches).await,
            CliCommand::ListProducts => self.execute_list_products(matches).await,
            CliCommand::GetProduct => self.execute_get_product(matches).await,
            CliCommand::ListOrders => self.execute_list_orders(matches).await,
            CliCommand::PlaceOrder => self.execute_place_order(matches).await,
            CliCommand::GetOrder => self.execute_get_order(matches).await,
            CliCommand::CancelOrder => self.execute_cancel_order(matches).await,
        }
    }
    pub async fn execute_greet(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.greet();
        self.config.execute_greet(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_register(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.register();
        if let Some(value) = matches.get_one::<types::Email>("email") {
            request = request.body_map(|body| { body.email(value.clone()) });
        }
        if let Some(value) = matches.get_one::<types::RegistrationPassword>("password") {
            request = request.body_map(|body| { body.password(value.clone()) });
        }
        if let Some(value) = matches.get_one::<types::Sid>("sid") {
            request = request.body_map(|body| { body.sid(value.clone()) });
        }
        if let Some(value) = matches.get_one::<types::Username>("username") {
            request = request.body_map(|body| { body.username(value.clone()) });
        }
        if let Some(value) = matches.get_one::<std::path::PathBuf>("json-body") {
            let body_txt = std::fs::read_to_string(value)
                .with_context(|| format!("failed to read {}", value.display()))?;
            let body_value = serde_json::from_str::<types::Registration>(&body_txt)
                .with_context(|| format!("failed to parse {}", value.display()))?;
            request = request.body(body_value);
        }
        self.config.execute_register(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_log_in(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.log_in();
        if let Some(value) = matches.get_one::<types::CredentialsPassword>("password") {
            request = request.body_map(|body| { body.password(value.clone()) });
        }
        if let Some(value) = matches.get_one::<types::Username>("username") {
            request = request.body_map(|body| { body.username(value.clone()) });
        }
        if let Some(value) = matches.get_one::<std::path::PathBuf>("json-body") {
            let body_txt = std::fs::read_to_string(value)
                .with_context(|| format!("failed to read {}", value.display()))?;
            let body_value = serde_json::from_str::<types::Credentials>(&body_txt)
                .with_context(|| format!("failed to parse {}", value.display()))?;
            request = request.body(body_value);
        }
        self.config.execute_log_in(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_log_out(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.log_out();
        self.config.execute_log_out(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_no_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_get_user(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.get_user();
        if let Some(value) = matches.get_one::<::std::string::String>("if-none-match") {
            request = request.if_none_match(value.clone());
        }
        if let Some(value) = matches.get_one::<types::UserId>("user-id") {
            request = request.user_id(value.clone());
        }
        self.config.execute_get_user(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_deactivate_user(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.deactivate_user();
        if let Some(value) = matches.get_one::<types::UserId>("user-id") {
            request = request.user_id(value.clone());
        }
        self.config.execute_deactivate_user(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_no_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_update_user(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.update_user();
        if let Some(value) = matches.get_one::<types::Email>("email") {
            request = request.body_map(|body| { body.email(value.clone()) });
        }
        if let Some(value) = matches.get_one::<::std::string::String>("if-match") {
            request = request.if_match(value.clone());
        }
        if let Some(value) = matches.get_one::<types::UserId>("user-id") {
            request = request.user_id(value.clone());
        }
        if let Some(value) = matches.get_one::<types::Username>("username") {
            request = request.body_map(|body| { body.username(value.clone()) });
        }
        if let Some(value) = matches.get_one::<std::path::PathBuf>("json-body") {
            let body_txt = std::fs::read_to_string(value)
                .with_context(|| format!("failed to read {}", value.display()))?;
            let body_value = serde_json::from_str::<types::UserChange>(&body_txt)
                .with_context(|| format!("failed to parse {}", value.display()))?;
            request = request.body(body_value);
        }
        self.config.execute_update_user(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_change_password(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.change_password();
        if let Some(value) = matches
            .get_one::<types::PasswordChangeCurrentPassword>("current-password")
        {
            request = request.body_map(|body| { body.current_password(value.clone()) });
        }
        if let Some(value) = matches
            .get_one::<types::PasswordChangeNewPassword>("new-password")
        {
            request = request.body_map(|body| { body.new_password(value.clone()) });
        }
        if let Some(value) = matches.get_one::<types::UserId>("user-id") {
            request = request.user_id(value.clone());
        }
        if let Some(value) = matches.get_one::<std::path::PathBuf>("json-body") {
            let body_txt = std::fs::read_to_string(value)
                .with_context(|| format!("failed to read {}", value.display()))?;
            let body_value = serde_json::from_str::<types::PasswordChange>(&body_txt)
                .with_context(|| format!("failed to parse {}", value.display()))?;
            request = request.body(body_value);
        }
        self.config.execute_change_password(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_no_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_list_products(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.list_products();
        if let Some(value) = matches.get_one::<types::Category>("category") {
            request = request.category(value.clone());
        }
        if let Some(value) = matches.get_one::<::std::num::NonZeroU32>("limit") {
            request = request.limit(value.clone());
        }
        self.config.execute_list_products(matches, &mut request)?;
        self.config.list_start::<types::ProductPage>();
        let mut stream = futures::StreamExt::take(
            request.stream(),
            matches
                .get_one::<std::num::NonZeroU32>("limit")
                .map_or(usize::MAX, |x| x.get() as usize),
        );
        loop {
            match futures::TryStreamExt::try_next(&mut stream).await {
                Err(r) => {
                    self.config.list_end_error(&r);
                    return Err(anyhow::Error::new(r));
                }
                Ok(None) => {
                    self.config.list_end_success::<types::ProductPage>();
                    return Ok(());
                }
                Ok(Some(value)) => {
                    self.config.list_item(&value);
                }
            }
        }
    }
    pub async fn execute_get_product(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.get_product();
        if let Some(value) = matches.get_one::<::std::string::String>("if-none-match") {
            request = request.if_none_match(value.clone());
        }
        if let Some(value) = matches.get_one::<types::ProductId>("product-id") {
            request = request.product_id(value.clone());
        }
        self.config.execute_get_product(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_list_orders(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.list_orders();
        if let Some(value) = matches.get_one::<::std::num::NonZeroU32>("limit") {
            request = request.limit(value.clone());
        }
        if let Some(value) = matches.get_one::<types::OrderStatus>("status") {
            request = request.status(value.clone());
        }
        self.config.execute_list_orders(matches, &mut request)?;
        self.config.list_start::<types::OrderPage>();
        let mut stream = futures::StreamExt::take(
            request.stream(),
            matches
                .get_one::<std::num::NonZeroU32>("limit")
                .map_or(usize::MAX, |x| x.get() as usize),
        );
        loop {
            match futures::TryStreamExt::try_next(&mut stream).await {
                Err(r) => {
                    self.config.list_end_error(&r);
                    return Err(anyhow::Error::new(r));
                }
                Ok(None) => {
                    self.config.list_end_success::<types::OrderPage>();
                    return Ok(());
                }
                Ok(Some(value)) => {
                    self.config.list_item(&value);
                }
            }
        }
    }
    pub async fn execute_place_order(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.place_order();
        if let Some(value) = matches
            .get_one::<types::PlaceOrderIdempotencyKey>("idempotency-key")
        {
            request = request.idempotency_key(value.clone());
        }
        if let Some(value) = matches.get_one::<types::ProductId>("product-id") {
            request = request.body_map(|body| { body.product_id(value.clone()) });
        }
        if let Some(value) = matches.get_one::<::std::num::NonZeroU32>("quantity") {
            request = request.body_map(|body| { body.quantity(value.clone()) });
        }
        if let Some(value) = matches.get_one::<std::path::PathBuf>("json-body") {
            let body_txt = std::fs::read_to_string(value)
                .with_context(|| format!("failed to read {}", value.display()))?;
            let body_value = serde_json::from_str::<types::Purchase>(&body_txt)
                .with_context(|| format!("failed to parse {}", value.display()))?;
            request = request.body(body_value);
        }
        self.config.execute_place_order(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_get_order(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.get_order();
        if let Some(value) = matches.get_one::<::std::string::String>("if-none-match") {
            request = request.if_none_match(value.clone());
        }
        if let Some(value) = matches.get_one::<types::OrderId>("order-id") {
            request = request.order_id(value.clone());
        }
        self.config.execute_get_order(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
    pub async fn execute_cancel_order(
        &self,
        matches: &::clap::ArgMatches,
    ) -> anyhow::Result<()> {
        let mut request = self.client.cancel_order();
        if let Some(value) = matches.get_one::<types::OrderId>("order-id") {
            request = request.order_id(value.clone());
        }
        self.config.execute_cancel_order(matches, &mut request)?;
        let result = request.send().await;
        match result {
            Ok(r) => {
                self.config.success_item(&r);
                Ok(())
            }
            Err(r) => {
                self.config.error(&r);
                Err(anyhow::Error::new(r))
            }
        }
    }
}
pub trait CliConfig {
    fn success_item<T>(&self, value: &ResponseValue<T>)
    where
        T: schemars::JsonSchema + serde::Serialize + std::fmt::Debug;
    fn success_no_item(&self, value: &ResponseValue<()>);
    fn error<T>(&self, value: &Error<T>)
    where
        T: schemars::JsonSchema + serde::Serialize + std::fmt::Debug;
    fn list_start<T>(&self)
    where
        T: schemars::JsonSchema + serde::Serialize + std::fmt::Debug;
    fn list_item<T>(&self, value: &T)
    where
        T: schemars::JsonSchema + serde::Serialize + std::fmt::Debug;
    fn list_end_success<T>(&self)
    where
        T: schemars::JsonSchema + serde::Serialize + std::fmt::Debug;
    fn list_end_error<T>(&self, value: &Error<T>)
    where
        T: schemars::JsonSchema + serde::Serialize + std::fmt::Debug;
    fn execute_greet(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::Greet,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_register(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::Register,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_log_in(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::LogIn,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_log_out(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::LogOut,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_get_user(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::GetUser,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_deactivate_user(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::DeactivateUser,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_update_user(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::UpdateUser,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_change_password(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::ChangePassword,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_list_products(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::ListProducts,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_get_product(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::GetProduct,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_list_orders(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::ListOrders,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_place_order(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::PlaceOrder,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_get_order(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::GetOrder,
    ) -> anyhow::Result<()> {
        Ok(())
    }
    fn execute_cancel_order(
        &self,
        matches: &::clap::ArgMatches,
        request: &mut builder::CancelOrder,
    ) -> anyhow::Result<()> {
        Ok(())
    }
}
#[derive(Copy, Clone, Debug)]
pub enum CliCommand {
    Greet,
    Register,
    LogIn,
    LogOut,
    GetUser,
    DeactivateUser,
    UpdateUser,
    ChangePassword,
    ListProducts,
    GetProduct,
    ListOrders,
    PlaceOrder,
    GetOrder,
    CancelOrder,
}
impl CliCommand {
    pub fn iter() -> impl Iterator<Item = CliCommand> {
        vec![
            CliCommand::Greet, CliCommand::Register, CliCommand::LogIn,
            CliCommand::LogOut, CliCommand::GetUser, CliCommand::DeactivateUser,
            CliCommand::UpdateUser, CliCommand::ChangePassword, CliCommand::ListProducts,
            CliCommand::GetProduct, CliCommand::ListOrders, CliCommand::PlaceOrder,
            CliCommand::GetOrder, CliCommand::CancelOrder,
        ]
            .into_iter()
    }
    pub fn operation_id(&self) -> &'static str {
        match self {
            CliCommand::Greet => "greet",
            CliCommand::Register => "register",
            CliCommand::LogIn => "log_in",
            CliCommand::LogOut => "log_out",
            CliCommand::GetUser => "get_user",
            CliCommand::DeactivateUser => "deactivate_user",
            CliCommand::UpdateUser => "update_user",
            CliCommand::ChangePassword => "change_password",
            CliCommand::ListProducts => "list_products",
            CliCommand::GetProduct => "get_product",
            CliCommand::ListOrders => "list_orders",
            CliCommand::PlaceOrder => "place_order",
            CliCommand::GetOrder => "get_order",
            CliCommand::CancelOrder => "cancel_order",
        }
    }
}
