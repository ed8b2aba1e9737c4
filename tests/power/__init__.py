"""Power loss: three nodes on disks of their own, the power of all cut at once, again and again; nothing is lost.

    make power ROUNDS=50

Each node's data folder is on an ext4 of its own in a file. The power is cut by shutting the file systems down without
writing what is not on the disk yet; then the nodes are killed and the disks mounted anew.
"""
