import json

from infra.demo.reviews import as_dataset, reviews


def test_reviews_are_different_and_the_same_for_the_same_seed():
    made = list(reviews(50, seed=3))
    assert made == list(reviews(50, seed=3))
    assert len({question for question, _ in made}) == 50
    assert {json.loads(answer)["stars"] for _, answer in made} == {1, 3, 5}


def test_a_dataset_is_chats_that_end_with_the_answer():
    (line,) = as_dataset(reviews(1, seed=3)).splitlines()
    ((question, answer),) = reviews(1, seed=3)
    user, assistant = json.loads(line)["messages"]
    assert user == {"role": "user", "content": question}
    assert assistant == {"role": "assistant", "content": answer}
