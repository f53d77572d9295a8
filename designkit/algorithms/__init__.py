"""Methods that approximate p(x) exp(r(x) / temperature): one short file each."""
