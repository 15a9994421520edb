//! A trace as a table of the engine: read anew for each scan, batch by batch, so that it never is in
//! memory as a whole.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, StringViewBuilder, UInt32Builder, UInt64Builder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use heapwise_trace::Trace;

use crate::export::rows::{FIELDS, Kind, Rows, Value};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;
use crate::replay::load;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// The trace, to be scanned.
#[derive(Debug)]
pub struct Scan {
    /// Its file.
    pub file: PathBuf,
    schema: SchemaRef,
    /// Why a scan ended before its time.
    pub failure: Arc<Mutex<Option<Failure>>>,
}

impl Scan {
    /// Of this file.
    pub fn new(file: PathBuf) -> Self {
        let fields = FIELDS.iter().map(|field| {
            let kind = match field.kind {
                Kind::U32 => DataType::UInt32,
                Kind::U64 => DataType::UInt64,
                Kind::I64 => DataType::Int64,
                Kind::Text => DataType::Utf8View,
            };
            Field::new(field.name, kind, field.optional)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { file, schema, failure: Arc::default() }
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), 2);
        let out = builder.tx();
        let (file, schema) = (self.file.clone(), self.schema.clone());
        let failure = self.failure.clone();
        builder.spawn_blocking(move || {
            // Whoever has enough rows closes the channel: no failure.
            read(&file, schema, |batch| out.blocking_send(Ok(batch)).is_ok()).map_err(|error| {
                let told = DataFusionError::Execution(error.to_string());
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                told
            })
        });
        builder.build()
    }
}

/// Reads all batches, until `take` wants no more.
fn read(
    file: &std::path::Path,
    schema: SchemaRef,
    mut take: impl FnMut(RecordBatch) -> bool,
) -> Result<(), Failure> {
    let trace = load::trace(file)?;
    let progress = Progress::new("reading the trace", trace.records());
    let mut rows = Rows::new(&trace);
    let mut columns = Columns::new();
    let mut done = 0u64;
    for event in trace.events() {
        let event = match event {
            Ok(event) => event,
            // Said by whoever opened it first.
            Err(error) if error.is_cut() => break,
            Err(error) => {
                progress.clear();
                return Err(load::unreadable(file, &error));
            }
        };
        rows.row(&event, |row| columns.push(&row.values()));
        if columns.rows == BATCH_ROWS {
            done += BATCH_ROWS as u64;
            progress.set(done);
            if interrupt::seen() {
                progress.clear();
                return Err(Failure::new(1, "interrupted"));
            }
            if !take(columns.batch(&schema)) {
                return Ok(());
            }
        }
    }
    progress.clear();
    take(columns.batch(&schema));
    Ok(())
}

/// A column while it grows.
enum Column {
    U32(UInt32Builder),
    U64(UInt64Builder),
    I64(Int64Builder),
    Text(StringViewBuilder),
}

/// All of them.
struct Columns {
    columns: Vec<Column>,
    rows: usize,
}

impl Columns {
    fn new() -> Self {
        let column = |kind| match kind {
            Kind::U32 => Column::U32(UInt32Builder::with_capacity(BATCH_ROWS)),
            Kind::U64 => Column::U64(UInt64Builder::with_capacity(BATCH_ROWS)),
            Kind::I64 => Column::I64(Int64Builder::with_capacity(BATCH_ROWS)),
            Kind::Text => Column::Text(StringViewBuilder::with_capacity(BATCH_ROWS)),
        };
        Self { columns: FIELDS.iter().map(|field| column(field.kind)).collect(), rows: 0 }
    }

    fn push(&mut self, values: &[Value<'_>; FIELDS.len()]) {
        for (column, value) in self.columns.iter_mut().zip(values) {
            let unsigned = match *value {
                Value::Unsigned(number) => Some(number),
                _ => None,
            };
            match column {
                Column::U32(builder) => builder.append_option(unsigned.map(|n| n as u32)),
                Column::U64(builder) => builder.append_option(unsigned),
                Column::I64(builder) => builder.append_option(match *value {
                    Value::Signed(number) => Some(number),
                    _ => None,
                }),
                Column::Text(builder) => builder.append_option(match *value {
                    Value::Text(word) => Some(word),
                    _ => None,
                }),
            }
        }
        self.rows += 1;
    }

    /// What has been pushed since the last time.
    fn batch(&mut self, schema: &SchemaRef) -> RecordBatch {
        self.rows = 0;
        let arrays = self.columns.iter_mut().map(|column| -> ArrayRef {
            match column {
                Column::U32(builder) => Arc::new(builder.finish()),
                Column::U64(builder) => Arc::new(builder.finish()),
                Column::I64(builder) => Arc::new(builder.finish()),
                Column::Text(builder) => Arc::new(builder.finish()),
            }
        });
        RecordBatch::try_new(schema.clone(), arrays.collect())
            .expect("columns of one length, each of its field's kind")
    }
}

/// Opens a trace as every scan does, so that what is wrong with it is said once and beforehand.
pub fn check(file: &std::path::Path) -> Result<(), Failure> {
    let trace: Trace = load::trace(file)?;
    match trace.damage() {
        Some(error) if error.is_cut() => {
            crate::complain(&format!("{} {error}; what is there is asked", file.display()));
            Ok(())
        }
        Some(error) => Err(load::unreadable(file, &error)),
        None => Ok(()),
    }
}
