//! How much is found, and how soon: `sure` of a verdict, `likely` of the weaker word beside it.

mod likely;
mod sure;
