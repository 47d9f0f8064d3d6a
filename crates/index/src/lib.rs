//! One folder for each index of a column: writer, serializer, reader.
