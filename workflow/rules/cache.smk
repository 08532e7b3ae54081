# Results that clones take from each other by `snakemake --cache`, where SNAKEMAKE_OUTPUT_CACHE names a folder:
# those that are dear and the same everywhere. The key holds all parameters, the code's hash among them, and
# those of the rules before. Edits aren't shared: their time and memory are measured.

from snakemake.caching.rule import RuleCache

SHARED = [
    "baseline",
    "moments",
    "representations",
    "vectors",
    "values",
    "fired",
    "state",
]

# Snakemake wants no `benchmark:` in such rules, since what is taken from the cache has no time of its own; so
# only where there is a cache they have none.
if workflow.workflow_settings.cache is not None:
    for name in SHARED:
        shared = workflow.get_rule(name)
        shared._benchmark = None
        shared.cache = RuleCache.from_rule(shared, True)
