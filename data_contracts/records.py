"""What each dataset holds, column by column. A dataset on disk is one Parquet file of one of these kinds plus a manifest.

Token ids are the sampler's own and are never re-tokenised (design, decision 2). `stopped` means that the model ended the
answer by itself, so that its ids end with exactly one end-of-sequence token; a cut answer carries none.
"""

import pyarrow as pa

VERSION = 1  # part of every dataset key: raise it when a column changes its meaning

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
IDS = pa.list_(pa.int32())

PROMPTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("prompt", MESSAGES),  # the conversation up to and including the user's last message
    ]
)

SAMPLES = pa.schema(  # one row per answer of the policy
    [
        ("sample_id", pa.string()),  # "<prompt_id>/<index>"
        ("prompt_id", pa.string()),
        ("prompt", MESSAGES),
        ("prompt_ids", IDS),
        ("index", pa.int32()),
        ("text", pa.string()),
        ("token_ids", IDS),
        ("finish_reason", pa.string()),  # "stop" or "length", as the engine said
        ("stopped", pa.bool_()),
        ("seed", pa.int64()),
        ("policy", pa.string()),  # hash of the checkpoint that wrote it
    ]
)

REVISIONS = pa.schema(  # one row per sample; the sample's own columns travel along
    [
        ("sample_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", MESSAGES),
        ("prompt_ids", IDS),
        ("text", pa.string()),
        ("token_ids", IDS),
        ("stopped", pa.bool_()),
        ("policy", pa.string()),
        ("raw", pa.string()),  # the teacher's whole reply
        ("reasoning", pa.string()),
        ("revision", pa.string()),  # null where parsing failed
        ("revision_ids", IDS),  # ends with the end-of-sequence token: a parsed revision is complete
        ("failure", pa.string()),  # null, or the name of the reason why there is no revision
        ("teacher", pa.string()),
    ]
)

VERDICTS = pa.schema(  # one row per unordered pair of answers to one prompt
    [
        ("prompt_id", pa.string()),
        ("first_id", pa.string()),  # sample ids
        ("second_id", pa.string()),
        ("forward", pa.string()),  # verdict when shown (first, second): "first", "second", "tie" or "unparsed"
        ("backward", pa.string()),  # verdict when shown (second, first), already mapped back to first/second
        ("outcome", pa.string()),  # "first", "second" or "tie"; two orders that disagree are a tie
        ("first_score", pa.float64()),  # on the judge's own scale where it scores answers (likelihood: nats), else null
        ("second_score", pa.float64()),
        ("win_probability", pa.float64()),  # P(first beats second): mean over orders and votes, a tie or an unread reply one half
        ("uncertainty", pa.float64()),  # mutual information of judge and label over votes, nats (BALD); null for a single one
        ("criterion", pa.string()),  # what a criterion-first judge chose to judge this prompt by
        ("judge", pa.string()),
    ]
)

SCORES = pa.schema(  # one row per answer, from any judge: one that scores answers, or one that compares or ranks them
    [
        ("sample_id", pa.string()),
        ("prompt_id", pa.string()),
        ("score", pa.float64()),  # mean vote on the judge's own scale, or the win rate among the prompt's answers; or null
        ("rank", pa.int32()),  # 1 = best of the prompt's answers; null where there is no score
        ("votes", pa.list_(pa.float64())),  # each vote's score, null where the reply could not be read; null for a win rate
        ("judge", pa.string()),
    ]
)

# One row per (chosen, rejected), or of one side alone: the other's text, ids, `stopped` and policy are then null.
PAIRS = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", MESSAGES),
        ("prompt_ids", IDS),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("chosen_ids", IDS),
        ("rejected_ids", IDS),
        ("chosen_stopped", pa.bool_()),
        ("rejected_stopped", pa.bool_()),
        ("method", pa.string()),  # the pair method's name, or "human"
        ("margin", pa.float64()),  # judge score of chosen minus rejected; null where nobody scored
        ("reasoning", pa.string()),  # the teacher's reason, or empty
        ("policy", pa.string()),  # hash of the checkpoint that wrote the rejected answer; "" for human data
        # What only some methods know; null elsewhere. The gate of the objectives reads these columns.
        ("chosen_policy", pa.string()),  # hash of the checkpoint that wrote the chosen answer
        ("on_policy", pa.bool_()),  # its answers were sampled from the checkpoint that is aligned on them
        ("chosen_score", pa.float64()),  # a judge's score of each answer, on the judge's own scale
        ("rejected_score", pa.float64()),
        ("win_probability", pa.float64()),  # P(chosen beats rejected) according to the judge
        ("uncertainty", pa.float64()),  # mutual information of judge and label, nats (BALD)
        ("gold_ids", IDS),  # a reference answer of its own beside the pair
        ("base_ids", IDS),  # the base model's answer
        ("rejected_prompt_ids", IDS),  # where the rejected answer answers another prompt
        ("reprompt_ids", IDS),  # the prompt's instruction, changed
        ("round", pa.int32()),  # the round that made the pair (replay)
        ("weight", pa.float64()),  # what the data says the pair should count, 1 where it says nothing
    ]
)

LISTS = pa.schema(  # one row per prompt: K >= 2 answers, the best first
    [
        ("list_id", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", MESSAGES),
        ("prompt_ids", IDS),
        ("answers", pa.list_(pa.string())),
        ("answer_ids", pa.list_(IDS)),
        ("stopped", pa.list_(pa.bool_())),
        ("scores", pa.list_(pa.float64())),  # one a answer, not increasing; null where nobody scored
        ("wins", pa.list_(pa.list_(pa.float64()))),  # P(answer i beats answer j), 0.5 on the diagonal; or null
        ("old_logps", pa.list_(pa.list_(pa.float32()))),  # the sampling policy's log-probability by token; or null
        ("sources", pa.list_(pa.string())),  # who wrote each answer: a checkpoint's hash or a teacher's name
        ("method", pa.string()),
        ("on_policy", pa.bool_()),  # all answers were sampled from the checkpoint that is aligned on them
        ("policy", pa.string()),  # hash of that checkpoint
        ("round", pa.int32()),
    ]
)

ANSWERS = pa.schema(  # one row per benchmark question
    [
        ("question_id", pa.string()),  # "<split>/<id in the file>"
        ("split", pa.string()),  # "free-form" or "multiple-choice"
        ("benchmark", pa.string()),  # benchmark_name of the question
        ("question", pa.string()),  # hash of its content: equal questions form one cluster
        ("prompt", pa.string()),
        ("prompt_ids", IDS),
        ("response", pa.string()),
        ("token_ids", IDS),
        ("stopped", pa.bool_()),
        ("parsed", pa.string()),  # what the parser understood; null = unparsed
        ("score", pa.float64()),
    ]
)

RANKINGS = pa.schema(  # one row per held-out pair: log-probabilities in nats, summed over the completion
    [
        ("pair_id", pa.string()),
        ("chosen_logp", pa.float64()),
        ("rejected_logp", pa.float64()),
        ("chosen_tokens", pa.int32()),
        ("rejected_tokens", pa.int32()),
    ]
)

PREFERENCES = pa.schema(  # one row per pair that a candidate is measured on: log-probabilities as in RANKINGS
    [
        ("pair_id", pa.string()),
        ("chosen_tokens", pa.int32()),
        ("rejected_tokens", pa.int32()),
        ("policy_chosen", pa.float64()),
        ("policy_rejected", pa.float64()),
        ("reference_chosen", pa.float64()),
        ("reference_rejected", pa.float64()),
        ("win_probability", pa.float64()),  # P(chosen beats rejected) according to the judge, null where none said
    ]
)

HARNESS = pa.schema(  # one row per question and metric of a task of lm-evaluation-harness
    [
        ("task", pa.string()),
        ("metric", pa.string()),  # "acc", or "exact_match.strict-match" where a task has several filters
        ("question_id", pa.string()),
        ("question", pa.string()),  # hash of its content: equal questions form one cluster
        ("score", pa.float64()),
    ]
)

# One row per optimiser step: means over its batch, in nats summed over an answer, before that step's update. Of a list, "chosen"
# is the best answer and "rejected" the mean over the others. A mean is over what is there, and null where nothing is.
STEPS = pa.schema(
    [
        ("step", pa.int32()),
        ("epoch", pa.float64()),
        ("loss", pa.float64()),
        ("chosen_logp", pa.float64()),
        ("rejected_logp", pa.float64()),
        ("chosen_logratio", pa.float64()),
        ("rejected_logratio", pa.float64()),
        ("chosen_reward", pa.float64()),  # beta times the log-ratio; null without beta or reference, and for means over tokens
        ("rejected_reward", pa.float64()),
        ("margin", pa.float64()),  # chosen minus rejected log-ratio (not times beta)
        ("accuracy", pa.float64()),  # share of pairs with a positive margin; no margin counts one half
        ("gradient_norm", pa.float64()),
        ("learning_rate", pa.float64()),
        ("reference_kl", pa.float64()),  # of the policy and its reference, along the batch's answers: half the squared log-ratios
        ("zero_share", pa.float64()),  # apo_auto: the share of the batch's pairs trained with apo_zero; null for other objectives
        ("held_out_accuracy", pa.float64()),  # after the step: held-out pairs with a positive margin; null between checks
        ("tokens_per_second", pa.float64()),
        ("peak_memory_mb", pa.float64()),  # of one training process so far
        ("mfu", pa.float64()),  # share of the GPU's peak, shared tokens counted once; null on a CPU
    ]
)

EXTRAPOLATIONS = pa.schema(  # one row per tensor of a checkpoint that lies beyond another
    [
        ("tensor", pa.string()),
        ("step", pa.float64()),  # norm of what was added, over the tensor's own norm
    ]
)

SCHEMAS: dict[str, pa.Schema] = {
    "prompts": PROMPTS,
    "samples": SAMPLES,
    "revisions": REVISIONS,
    "verdicts": VERDICTS,
    "scores": SCORES,
    "pairs": PAIRS,
    "lists": LISTS,
    "answers": ANSWERS,
    "rankings": RANKINGS,
    "preferences": PREFERENCES,
    "harness": HARNESS,
    "steps": STEPS,
    "extrapolations": EXTRAPOLATIONS,
}
