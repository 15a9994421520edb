//! The engine: DataFusion over a [`Scan`], on one thread with room for deep queries.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};

use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::scan::{self, Scan};
use super::{Format, VIEWS, output};
use crate::failure::{Failure, USAGE};
use crate::interrupt::Interrupt;

/// A query may be nested deeply, and the planner follows it down.
const STACK_BYTES: usize = 64 << 20;

/// Answers one query.
pub fn answer(file: &Path, sql: &str, format: Format) -> anyhow::Result<ExitCode> {
    let _interrupt = Interrupt::watch();
    let worker = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(ask(file, sql, format))
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        builder.spawn_scoped(scope, worker)?.join().unwrap_or_else(|e| std::panic::resume_unwind(e))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(file: &Path, sql: &str, format: Format) -> anyhow::Result<()> {
    scan::check(file)?;
    let scan = Arc::new(Scan::new(file.to_owned()));
    let failure = scan.failure.clone();
    // A trace is in one order: one partition.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let partition: Arc<dyn PartitionStream> = scan;
    let table = StreamingTable::try_new(partition.schema().clone(), vec![partition])?;
    context.register_table("events", Arc::new(table))?;
    for view in VIEWS.trim_end().split_terminator(";\n") {
        context.sql(view).await?;
    }
    let reads_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let unusable = |error: DataFusionError| Failure::new(USAGE, sentence(&error));
    let frame = context.sql_with_options(sql, reads_only).await.map_err(unusable)?;
    let rows = frame.execute_stream().await.map_err(unusable)?;
    output::write(rows, format).await.map_err(|error| {
        // The scan's own words are better than what the engine made of them.
        match failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => failure.into(),
            None => match error.downcast::<DataFusionError>() {
                Ok(error) => anyhow::anyhow!("{}", sentence(&error)),
                Err(other) => other,
            },
        }
    })
}

/// The engine's complaint as one line.
fn sentence(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
