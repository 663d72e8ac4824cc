# The second step: deletions, an opaque directory, kinds replaced, copies up without a change. Runs in $ROOT.
set -e
cd "$ROOT/t"; rm dir/a; rm -rf opaque; mkdir -p opaque/in; echo new > opaque/new; echo gone2 > opaque/in/other
rm -rf x; ln -s keep x; rm keep/k; chmod 700 sgid; mv same tmp; mv tmp same; touch empty; mkdir brandnew; rm -rf deep; echo f > deep; echo new >> dir/sub/b; rm longlink; mkdir longlink; echo 1 > longlink/1; ln f.txt newhard
find . -depth -mtime -100 -exec touch -h -d '2023-11-14 22:13:21' {} \;
