//! What a query comes to, printed: batch by batch where the format allows it.

use std::io::Write;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv;
use datafusion::arrow::json::LineDelimitedWriter;
use datafusion::arrow::util::pretty::pretty_format_batches_with_schema;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures_util::StreamExt;

use super::Format;

/// Prints all rows.
pub async fn write(mut rows: SendableRecordBatchStream, format: Format) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match format {
        Format::Table => {
            // Columns are as wide as their widest value: all must be known.
            let schema = rows.schema();
            let mut batches = Vec::new();
            while let Some(batch) = rows.next().await {
                batches.push(batch?);
            }
            writeln!(out, "{}", pretty_format_batches_with_schema(schema, &batches)?)?;
        }
        Format::Csv => {
            let mut writer = csv::Writer::new(&mut out);
            // The line of names, also where no row comes.
            writer.write(&RecordBatch::new_empty(rows.schema()))?;
            while let Some(batch) = rows.next().await {
                writer.write(&batch?)?;
            }
        }
        Format::Json => {
            let mut writer = LineDelimitedWriter::new(&mut out);
            while let Some(batch) = rows.next().await {
                writer.write(&batch?)?;
            }
            writer.finish()?;
        }
    }
    out.flush()?;
    Ok(())
}
