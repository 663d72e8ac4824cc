# The first step of the recorded build: names and numbers at the limits of a tar header. Runs in $ROOT.
set -e
r() { printf "$1%.0s" $(seq 1 $2); }
mkdir "$ROOT/t"; cd "$ROOT/t"
mkdir -p dir/sub opaque/in keep x $(r n 90)/$(r n 90) deep/$(r n 90)/$(r n 90)/$(r v 120) $(r d 99) $(r d 100) dé sticky sgid
echo hello > f.txt; chmod 4755 f.txt; echo a > dir/a; echo b > dir/sub/b; ln dir/a dir/hard; ln -s ../f.txt dir/link
ln dir/link dir/second-name-of-a-symlink
echo x > $(r n 90)/$(r n 90)/file; echo y > $(r n 90)/$(r n 90)/$(r z 100)
echo z > $(r q 100); echo z > $(r q 101); echo d > deep/$(r n 90)/$(r n 90)/$(r w 99)
ln deep/$(r n 90)/$(r n 90)/$(r w 99) deep/hard-to-a-long-name
ln -s $(r t 150) longlink; ln -s zielé unilink; echo ü > ünïcode; echo 1 > dé/x; ln ünïcode unihard
mknod fifo p; mknod chr c 1 3; mknod blk b 7 300; ln chr chr2
chown 3000000:4000000 f.txt; echo big > bigid; chown 2097152:2097151 bigid
: > empty; echo o > opaque/gone; echo p > opaque/in/gone2; echo k > keep/k; chmod 1777 sticky; chmod 2755 sgid; echo w > x/w; echo same > same
find . -depth -exec touch -h -d '2023-11-14 22:13:20' {} \;
touch -d '1969-01-01 00:00:00' dir/sub/b; touch -d '2300-01-01 00:00:00' dir/a
