//! `countersign keys mint`

use super::World;
use crate::cli::failure::Failure;
use crate::cli::first_credential::{Form, mint, print};
use crate::cli::output;
use crate::domain::credential::Brands;
use crate::domain::ids::Environment;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Print it as JSON, which is also a credential file
    #[arg(long)]
    json: bool,

    /// Production, or trying things out
    #[arg(long, value_enum, default_value = "live")]
    environment: World,

    /// The brand that both bear
    #[arg(long, default_value = "cs")]
    brand: String,
}

/// Needs no server and no store.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    output::refuse_unread()?;
    let brands = Brands::new(vec![args.brand]).map_err(Failure::said)?;
    let environment = match args.environment {
        World::Live => Environment::Live,
        World::Test => Environment::Test,
    };
    let pair = mint(&brands, environment)?;
    print(&pair, if args.json { Form::Json } else { Form::Variables })
}
