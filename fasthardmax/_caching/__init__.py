"""What HardmaxCache is made of: ahead of time, without the GIL, one structure a head."""
