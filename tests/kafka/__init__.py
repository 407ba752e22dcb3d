"""A real Apache Kafka for tests and benchmarks: one that is given, else in a container, else from Maven Central."""
