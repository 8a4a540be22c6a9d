# Of requirements with hashes, those that a machine without GPUs needs beside torch, which comes from an index of its own.
/^[a-z]/ { kept = $0 !~ /^(torch|torchvision|triton|nvidia-|cuda-)/ }
kept
