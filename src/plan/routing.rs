//! Foretells which queues a publish reaches: the broker's routing rules as a pure function of the topology.
